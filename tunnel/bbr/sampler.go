package bbr

import "time"

// A sampler measures how fast data is delivered (section 4.1).
type sampler struct {
	records     records
	epoch       uint32 // of the path; packets of an earlier one give no samples
	delivered   int64  // C.delivered, bytes
	lost        int64  // C.lost, bytes
	deliveredAt Time   // C.delivered_time
	firstSent   Time   // C.first_send_time
	appLimited  int64  // C.app_limited: when so much is delivered, the bubble is gone; 0: there is none
	minRTT      time.Duration
}

// A record is what a packet carries with it while it is outstanding (section
// 4.1.2.1.2).
type record struct {
	number      int64
	size        int64
	inflight    int64 // P.tx_in_flight: with this packet
	delivered   int64
	lost        int64
	deliveredAt Time
	firstSent   Time
	sent        Time
	epoch       uint32
	appLimited  bool
	pushed      bool // sent while accelerating
	live        bool
}

// A sample is RS, what one acknowledgement says (section 4.1.2.1.3).
type sample struct {
	ok          bool          // it acknowledges a packet of this path
	rtt         time.Duration // of the packet sent last
	rate        int64         // RS.delivery_rate, bytes/s; 0 if it says nothing about it
	acked       int64         // RS.newly_acked
	delivered   int64         // RS.delivered
	inflight    int64         // RS.tx_in_flight
	lost        int64         // RS.lost
	appLimited  bool
	before      int64 // RS.prior_delivered
	lostBefore  int64 // P.lost
	sendElapsed time.Duration
	ackElapsed  time.Duration
}

func (s *sampler) restart(now Time) {
	s.epoch++
	s.deliveredAt, s.firstSent = now, now
	s.appLimited = 0
	s.minRTT = 0
}

// limit is MarkConnectionAppLimited (section 4.1.2.4).
func (s *sampler) limit(inflight int64) { s.appLimited = max(s.delivered+inflight, 1) }

// sent is OnPacketSent (section 4.1.2.2).
func (s *sampler) sent(now Time, number, size, inflight int64, pushed bool) {
	if inflight <= size {
		s.firstSent, s.deliveredAt = now, now
	}
	s.records.put(record{
		number: number, size: size, inflight: inflight,
		delivered: s.delivered, lost: s.lost,
		deliveredAt: s.deliveredAt, firstSent: s.firstSent, sent: now,
		epoch: s.epoch, appLimited: s.appLimited != 0, pushed: pushed,
	})
}

// acked is UpdateRateSample for all packets of an acknowledgement (section
// 4.1.2.3).
func (s *sampler) acked(now Time, packets []Packet) (rs sample) {
	last := int64(-1)
	for _, p := range packets {
		r, ok := s.records.take(p.Number)
		if !ok || r.epoch != s.epoch {
			continue
		}
		s.delivered += r.size
		s.deliveredAt = now
		rs.acked += r.size
		if rs.ok && (r.sent < s.firstSent || r.sent == s.firstSent && r.number <= last) {
			continue
		}
		last = r.number
		rs.ok = true
		rs.before, rs.lostBefore = r.delivered, r.lost
		rs.appLimited = r.appLimited
		rs.inflight = r.inflight
		rs.sendElapsed = r.sent - r.firstSent
		rs.ackElapsed = now - r.deliveredAt
		rs.rtt = max(now-r.sent, time.Microsecond)
		s.firstSent = r.sent
	}
	return rs
}

// rate is GenerateRateSample (section 4.1.2.3). It comes after the losses of
// the same event.
func (s *sampler) rate(rs *sample) {
	if s.appLimited != 0 && s.delivered > s.appLimited {
		s.appLimited = 0
	}
	if !rs.ok {
		return
	}
	if s.minRTT == 0 || rs.rtt < s.minRTT {
		s.minRTT = rs.rtt
	}
	rs.delivered = s.delivered - rs.before
	rs.lost = s.lost - rs.lostBefore
	if interval := max(rs.sendElapsed, rs.ackElapsed); interval >= s.minRTT {
		rs.rate = perSecond(rs.delivered, interval)
	}
}

// perSecond returns bytes in d as a rate.
func perSecond(bytes int64, d time.Duration) int64 {
	return int64(float64(bytes) * float64(time.Second) / float64(max(d, 1)))
}

// during returns the bytes that rate, in bytes per second, carries in d.
func during(rate int64, d time.Duration) int64 {
	return int64(min(float64(rate)*(float64(d)/float64(time.Second)), 1<<62))
}

// records are the outstanding packets: a ring by packet number, which grows with
// what is in flight.
type records struct {
	slots []record // a power of two
	live  int
}

const (
	minRecords = 64
	maxRecords = 1 << 16 // more than a QUIC library keeps track of
)

// put adds r. A record that is in its place is that of a packet long forgotten
// by the library, if most of the ring is free; else the ring is too small.
func (rs *records) put(r record) {
	if r.number < 0 {
		return
	}
	if len(rs.slots) == 0 {
		rs.slots = make([]record, minRecords)
	}
	for {
		slot := &rs.slots[r.number&int64(len(rs.slots)-1)]
		if slot.live && rs.live >= len(rs.slots)/2 && len(rs.slots) < maxRecords {
			rs.grow()
			continue
		}
		if !slot.live {
			rs.live++
		}
		*slot = r
		slot.live = true
		return
	}
}

func (rs *records) grow() {
	old := rs.slots
	rs.slots = make([]record, 2*len(old))
	for _, r := range old {
		if r.live {
			rs.slots[r.number&int64(len(rs.slots)-1)] = r
		}
	}
}

// take removes and returns the record of a packet.
func (rs *records) take(number int64) (record, bool) {
	if len(rs.slots) == 0 || number < 0 {
		return record{}, false
	}
	slot := &rs.slots[number&int64(len(rs.slots)-1)]
	if !slot.live || slot.number != number {
		return record{}, false
	}
	slot.live = false
	rs.live--
	return *slot, true
}
