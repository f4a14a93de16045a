package tunnel

import (
	"sync/atomic"

	"github.com/apernet/quic-go"
	"github.com/apernet/quic-go/congestion"
	"github.com/apernet/quic-go/monotime"

	"peerway/tunnel/bbr"
	"peerway/tunnel/pathsock"
)

// A pilot sets how fast a QUIC connection sends: [bbr.Controller] as the QUIC
// library wants it. Its methods belong to the library's goroutine.
type pilot struct {
	controller *bbr.Controller
	hints      *hints
	advance    func() // packets have been looked at

	acked, lost []bbr.Packet // of the event at hand
}

// hints tell a pilot what it cannot know.
type hints struct {
	left atomic.Bool // a path was left: what was measured on it must be forgotten
	ask  atomic.Bool // one packet may go out beyond the window: it asks whether the peer is back
}

// steer puts a pilot in charge of conn, which follows hints.
func steer(conn *quic.Conn, route *pathsock.Peer, hints *hints) {
	p := &pilot{hints: hints, advance: route.Advance, controller: bbr.New(bbr.Config{
		PacketSize: int(conn.InitialPacketSize()),
		RTT:        conn.ConnectionStats().SmoothedRTT,
	}, instant(monotime.Now()))}
	conn.SetCongestionControl(p)
	route.Follow(func() uint64 { return conn.ConnectionStats().BytesReceived })
}

func instant(t monotime.Time) bbr.Time { return bbr.Time(t) }

// arrive makes the controller forget a path that was left.
func (p *pilot) arrive(now monotime.Time) {
	if p.hints.left.Load() && p.hints.left.CompareAndSwap(true, false) {
		p.controller.Reset(instant(now))
	}
}

// OnPacketSent implements [congestion.CongestionControl].
func (p *pilot) OnPacketSent(now monotime.Time, inflight congestion.ByteCount, number congestion.PacketNumber, size congestion.ByteCount, eliciting bool) {
	p.arrive(now)
	p.advance()
	if eliciting && p.hints.ask.Load() {
		p.hints.ask.Store(false)
	}
	p.controller.Sent(instant(now), int64(number), int64(size), int64(inflight), eliciting)
}

// OnCongestionEventEx implements [congestion.CongestionControlEx].
func (p *pilot) OnCongestionEventEx(prior congestion.ByteCount, now monotime.Time, acked []congestion.AckedPacketInfo, lost []congestion.LostPacketInfo) {
	p.arrive(now)
	p.advance()
	p.acked, p.lost = p.acked[:0], p.lost[:0]
	for _, a := range acked {
		p.acked = append(p.acked, bbr.Packet{Number: int64(a.PacketNumber), Size: int64(a.BytesAcked)})
	}
	for _, l := range lost {
		p.lost = append(p.lost, bbr.Packet{Number: int64(l.PacketNumber), Size: int64(l.BytesLost)})
	}
	p.controller.Event(instant(now), int64(prior), p.acked, p.lost)
}

// OnCongestionEvent implements [congestion.CongestionControl]. Without lost
// bytes it tells of marked packets; losses come with the event.
func (p *pilot) OnCongestionEvent(_ congestion.PacketNumber, lost, _ congestion.ByteCount) {
	if lost == 0 {
		p.controller.Marked()
	}
}

// HasPacingBudget implements [congestion.CongestionControl].
func (p *pilot) HasPacingBudget(now monotime.Time) bool {
	return p.controller.MaySend(instant(now)) || p.hints.ask.Load()
}

// TimeUntilSend implements [congestion.CongestionControl].
func (p *pilot) TimeUntilSend(congestion.ByteCount) monotime.Time {
	return monotime.Time(p.controller.NextSend())
}

// CanSend implements [congestion.CongestionControl].
func (p *pilot) CanSend(inflight congestion.ByteCount) bool {
	return int64(inflight) < p.controller.Window() || p.hints.ask.Load()
}

// GetCongestionWindow implements [congestion.CongestionControl].
func (p *pilot) GetCongestionWindow() congestion.ByteCount {
	return congestion.ByteCount(p.controller.Window())
}

// InSlowStart implements [congestion.CongestionControl].
func (p *pilot) InSlowStart() bool { return p.controller.Starting() }

// InRecovery implements [congestion.CongestionControl].
func (p *pilot) InRecovery() bool { return false }

// What follows is for controllers of another kind.

// SetRTTStatsProvider implements [congestion.CongestionControl].
func (p *pilot) SetRTTStatsProvider(congestion.RTTStatsProvider) {}

// MaybeExitSlowStart implements [congestion.CongestionControl].
func (p *pilot) MaybeExitSlowStart() {}

// OnPacketAcked implements [congestion.CongestionControl].
func (p *pilot) OnPacketAcked(congestion.PacketNumber, congestion.ByteCount, congestion.ByteCount, monotime.Time) {
}

// OnRetransmissionTimeout implements [congestion.CongestionControl].
func (p *pilot) OnRetransmissionTimeout(bool) {}

// SetMaxDatagramSize implements [congestion.CongestionControl]. Packets keep the
// size that they begin with.
func (p *pilot) SetMaxDatagramSize(congestion.ByteCount) {}

var _ congestion.CongestionControlEx = (*pilot)(nil)
