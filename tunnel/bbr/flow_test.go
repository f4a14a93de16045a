package bbr

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A steering is a congestion controller, as a flow sees it.
type steering interface {
	Sent(now Time, number, size, inflight int64, eliciting bool)
	Event(now Time, prior int64, acked, lost []Packet)
	MaySend(now Time) bool
	NextSend() Time
	Window() int64
}

const (
	never       = Time(math.MaxInt64)
	maxAckDelay = 25 * time.Millisecond
	granularity = time.Millisecond
	threshold   = 3                      // packets, RFC 9002 section 6.1.1
	binOf       = 100 * time.Millisecond // of the delivered bytes
)

// A flow is a sender that does what quic-go does, in its order, and its
// receiver.
type flow struct {
	net *network
	cc  steering
	bbr *Controller // cc, if it is what is under test

	bulk   bool    // the application always has more to send
	ready  []chunk // what else it has, in order
	again  []chunk // what has to be sent again, goes first
	chunks int64   // made so far
	late   Time    // its timers fire up to this much too late

	next         int64 // packet number
	sent         []outgoing
	first        int64 // no packet below it is outstanding
	inflight     int64
	largestAcked int64
	lastSent     Time
	known        int // of arrivals, what the sender knows
	hearing      bool
	probes       int
	ptoCount     int
	lossTime     Time
	wakeAt       Time // of the pacing timer that counts
	alarm        Time // when loss detection wants to be called
	alarmSet     Time // the event that will do it
	latest       Time
	srtt, rttvar Time
	acked, lost  []Packet
	order        []int64

	lastArrival, lastAnswer Time // so that jitter keeps the order
	arrivals                []int64
	acks                    []ack
	largest                 int64 // received
	largestAt               Time
	unanswered              int
	answerBy                Time
	got                     []bool // by chunk

	delivered   []int64 // new bytes that have reached the receiver, per binOf
	maxInflight int64
	sentBytes   int64
	lostPackets int
	spins       int // NextSend had no answer to a MaySend of no
	visits      []visit
}

// A chunk is a piece of the application's data, a packet's worth.
type chunk struct{ id, size int64 }

type outgoing struct {
	chunk
	at          Time
	outstanding bool
}

// An ack says that the first upTo of the arrivals have arrived.
type ack struct {
	upTo  int
	delay Time
}

// A visit is what the controller was like when it entered a state.
type visit struct {
	at        Time
	state     string
	window    int64
	inflight  int64
	bandwidth int64
	sentBytes int64
	lost      int
}

// join adds a flow that has nothing to send yet.
func (n *network) join(cc steering) *flow {
	f := &flow{
		net: n, cc: cc,
		next: 1, first: 1, sent: make([]outgoing, 1), largest: -1,
		wakeAt: never, alarm: never, alarmSet: never, lossTime: never, answerBy: never,
	}
	f.bbr, _ = cc.(*Controller)
	f.note()
	return f
}

// ours adds a flow with the controller under test, which knows the path's RTT
// from the handshake.
func (n *network) ours() *flow {
	random := rand.New(rand.NewPCG(n.rand.Uint64(), 2))
	return n.join(New(Config{PacketSize: packetSize, RTT: n.rtt, Rand: random.Float64}, n.now))
}

// theirs adds a flow with CUBIC.
func (n *network) theirs() *flow { return n.join(newCubic()) }

// start has the application send as much as it can, from the given moment on.
func (f *flow) start(at Time) *flow {
	f.net.at(at, func() {
		f.bulk = true
		f.trySend()
	})
	return f
}

// pause ends what start began.
func (f *flow) pause(at Time) {
	f.net.at(at, func() { f.bulk = false })
}

// frames has the application send frames at the given rate in bits per second,
// 30 a second.
func (f *flow) frames(from, to Time, rate int64) {
	const perSecond = 30
	for i := Time(0); from+i*time.Second/perSecond < to; i++ {
		f.net.at(from+i*time.Second/perSecond, func() { f.write(rate / 8 / perSecond) })
	}
}

// write gives the flow some bytes to send.
func (f *flow) write(bytes int64) {
	for ; bytes > 0; bytes -= packetSize {
		f.ready = append(f.ready, f.chunk(min(bytes, packetSize)))
	}
	f.trySend()
}

func (f *flow) chunk(size int64) chunk {
	f.chunks++
	return chunk{f.chunks - 1, size}
}

func (f *flow) handle(what signal, arg int64) {
	switch what {
	case arrived:
		f.receive(arg)
	case answered:
		f.hear(f.acks[arg])
	case heard:
		f.hearing = false
		f.trySend()
	case woken:
		if Time(arg) == f.wakeAt {
			f.wakeAt = never
			f.trySend()
		}
	case alarmed:
		if Time(arg) != f.alarmSet {
			return
		}
		f.alarmSet = never
		if f.net.now < f.alarm {
			f.arm()
			return
		}
		f.timeout()
		f.trySend()
	case delayed:
		if Time(arg) == f.answerBy {
			f.acknowledge()
		}
	}
	f.note()
}

// trySend asks what quic-go asks, in its order, before every packet: probes,
// window, pacing, data.
func (f *flow) trySend() {
	for {
		now := f.net.now
		if f.probes > 0 {
			f.probe()
			continue
		}
		if f.inflight >= f.cc.Window() {
			return
		}
		if !f.cc.MaySend(now) {
			at := f.cc.NextSend()
			if at <= now {
				f.spins++
				at = now + time.Microsecond
			}
			if at += f.net.upTo(f.late); at < f.wakeAt || f.wakeAt <= now {
				f.wakeAt = at
				f.net.post(at, f, woken, int64(at))
			}
			return
		}
		switch {
		case len(f.again) > 0:
			c := f.again[0]
			f.again = f.again[1:]
			f.transmit(c)
		case len(f.ready) > 0:
			c := f.ready[0]
			f.ready = f.ready[1:]
			f.transmit(c)
		case f.bulk:
			f.transmit(f.chunk(packetSize))
		default:
			return
		}
	}
}

// probe sends the oldest outstanding packet once more, whatever the window.
// Like quic-go it takes it for lost and does not say so to the controller.
func (f *flow) probe() {
	f.probes--
	for ; f.first < f.next; f.first++ {
		if r := &f.sent[f.first]; r.outstanding {
			r.outstanding = false
			f.inflight -= r.size
			f.transmit(r.chunk)
			return
		}
	}
}

func (f *flow) transmit(c chunk) {
	now := f.net.now
	if f.net.chance(1.0 / 500) { // quic-go leaves out a number now and then
		f.next++
		f.sent = append(f.sent, outgoing{})
	}
	number := f.next
	f.next++
	f.sent = append(f.sent, outgoing{c, now, true})
	f.inflight += c.size
	f.maxInflight = max(f.maxInflight, f.inflight)
	f.sentBytes += c.size
	f.lastSent = now
	f.cc.Sent(now, number, c.size, f.inflight, true)
	f.net.carry(f, number, c.size)
	f.setAlarm()
}

// hear processes an acknowledgement, in the order of quic-go's ReceivedAck.
func (f *flow) hear(a ack) {
	now := f.net.now
	if a.upTo <= f.known {
		return
	}
	f.order = f.order[:0]
	largest := int64(0)
	for _, number := range f.arrivals[f.known:a.upTo] {
		largest = max(largest, number)
		if f.sent[number].outstanding {
			f.order = append(f.order, number)
		}
	}
	f.known = a.upTo
	if len(f.order) == 0 {
		return
	}
	prior := f.inflight
	slices.Sort(f.order)
	f.acked = f.acked[:0]
	for _, number := range f.order {
		r := &f.sent[number]
		r.outstanding = false
		f.acked = append(f.acked, Packet{Number: number, Size: r.size})
	}
	if newest := f.order[len(f.order)-1]; newest == largest && largest > f.largestAcked {
		f.measure(now-f.sent[newest].at, a.delay)
	}
	f.largestAcked = max(f.largestAcked, largest)
	f.detectLost()
	for _, p := range f.acked {
		f.inflight -= p.Size
	}
	f.cc.Event(now, prior, f.acked, f.lost)
	f.ptoCount, f.probes = 0, 0
	f.setAlarm()
	if !f.hearing { // quic-go processes all that has come in before it sends
		f.hearing = true
		f.net.post(now, f, heard, 0)
	}
}

func (f *flow) measure(sample, delay Time) {
	f.latest = sample - min(delay, maxAckDelay)
	if f.srtt == 0 {
		f.srtt, f.rttvar = f.latest, f.latest/2
		return
	}
	f.rttvar = (3*f.rttvar + (f.srtt - f.latest).Abs()) / 4
	f.srtt = (7*f.srtt + f.latest) / 8
}

// detectLost is RFC 9002 section 6.1.
func (f *flow) detectLost() {
	f.lost = f.lost[:0]
	f.lossTime = never
	after := max(max(f.latest, f.srtt)*9/8, granularity)
	for f.first < f.next && !f.sent[f.first].outstanding {
		f.first++
	}
	for number := f.first; number <= f.largestAcked; number++ {
		r := &f.sent[number]
		if !r.outstanding {
			continue
		}
		if r.at+after > f.net.now && f.largestAcked-number < threshold {
			f.lossTime = min(f.lossTime, r.at+after)
			continue
		}
		r.outstanding = false
		f.inflight -= r.size
		f.again = append(f.again, r.chunk)
		f.lost = append(f.lost, Packet{Number: number, Size: r.size})
	}
	f.lostPackets += len(f.lost)
}

func (f *flow) timeout() {
	if f.lossTime != never {
		prior := f.inflight
		f.detectLost()
		if len(f.lost) > 0 {
			f.cc.Event(f.net.now, prior, nil, f.lost)
		}
	} else if f.inflight > 0 {
		f.ptoCount++
		f.probes += 2
	}
	f.setAlarm()
}

func (f *flow) setAlarm() {
	switch {
	case f.lossTime != never:
		f.alarm = f.lossTime
	case f.inflight == 0:
		f.alarm = never
	default:
		pto := 200 * time.Millisecond
		if f.srtt > 0 {
			pto = f.srtt + max(4*f.rttvar, granularity) + maxAckDelay
		}
		f.alarm = f.lastSent + pto<<min(f.ptoCount, 8)
	}
	f.arm()
}

func (f *flow) arm() {
	if f.alarm < f.alarmSet {
		f.alarmSet = max(f.alarm, f.net.now)
		f.net.post(f.alarmSet, f, alarmed, int64(f.alarmSet))
	}
}

// receive is the receiver's side: every second packet is acknowledged at once,
// and so is one out of order.
func (f *flow) receive(number int64) {
	now := f.net.now
	f.arrivals = append(f.arrivals, number)
	c := f.sent[number].chunk
	for int64(len(f.got)) <= c.id {
		f.got = append(f.got, false)
	}
	if !f.got[c.id] {
		f.got[c.id] = true
		bin := int(now / binOf)
		for len(f.delivered) <= bin {
			f.delivered = append(f.delivered, 0)
		}
		f.delivered[bin] += c.size
	}
	inOrder := number == f.largest+1
	if number > f.largest {
		f.largest, f.largestAt = number, now
	}
	f.unanswered++
	if !inOrder || f.unanswered >= 2 {
		f.acknowledge()
	} else {
		f.answerBy = now + maxAckDelay
		f.net.post(f.answerBy, f, delayed, int64(f.answerBy))
	}
}

func (f *flow) acknowledge() {
	f.unanswered, f.answerBy = 0, never
	f.acks = append(f.acks, ack{len(f.arrivals), f.net.now - f.largestAt})
	f.net.answer(f, int64(len(f.acks)-1))
}

// note remembers the moment when the controller changes its state.
func (f *flow) note() {
	if f.bbr == nil {
		return
	}
	state := f.bbr.State()
	if len(f.visits) > 0 && f.visits[len(f.visits)-1].state == state {
		return
	}
	f.visits = append(f.visits, visit{
		f.net.now, state, f.cc.Window(), f.inflight, f.bbr.Bandwidth(), f.sentBytes, f.lostPackets,
	})
}

// goodput returns what reached the receiver between from and to, in bits per
// second. Both are rounded to binOf.
func (f *flow) goodput(from, to Time) float64 {
	var sum int64
	for bin := from / binOf; bin < to/binOf && int(bin) < len(f.delivered); bin++ {
		sum += f.delivered[bin]
	}
	return float64(sum) * 8 / (to - from).Seconds()
}
