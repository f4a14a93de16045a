package bbr

import (
	"testing"
	"time"
)

// A conveyor is a connection in steady state: a packet leaves, and the one that
// left a window ago is acknowledged.
type conveyor struct {
	c      *Controller
	now    Time
	number int64
	acked  [1]Packet
	lost   [1]Packet
}

const conveyed = 200 // packets in flight

func newConveyor() *conveyor {
	v := &conveyor{c: New(Config{PacketSize: packetSize, RTT: 40 * ms}, 0)}
	for range 50_000 {
		v.step()
	}
	return v
}

func (v *conveyor) step() {
	v.number++
	v.now += 200 * time.Microsecond
	v.c.MaySend(v.now)
	v.c.Sent(v.now, v.number, packetSize, conveyed*packetSize, true)
	old := Packet{v.number - conveyed + 1, packetSize}
	switch {
	case old.Number <= 0:
	case old.Number%100 == 0:
		v.lost[0] = old
		v.c.Event(v.now, conveyed*packetSize, nil, v.lost[:])
	default:
		v.acked[0] = old
		v.c.Event(v.now, conveyed*packetSize, v.acked[:], nil)
	}
	v.c.Window()
	v.c.NextSend()
}

func TestAllocations(t *testing.T) {
	v := newConveyor()
	if got := testing.AllocsPerRun(10_000, v.step); got != 0 {
		t.Errorf("a packet costs %v allocations", got)
	}
}

// BenchmarkPacket is the cost of one packet: sent, and acknowledged or lost.
func BenchmarkPacket(b *testing.B) {
	v := newConveyor()
	b.ReportAllocs()
	for b.Loop() {
		v.step()
	}
}

// BenchmarkReset is the cost of a change of path.
func BenchmarkReset(b *testing.B) {
	v := newConveyor()
	b.ReportAllocs()
	for b.Loop() {
		v.c.Reset(v.now)
	}
}

// BenchmarkSimulation is the cost of a simulated second at 50 Mbit/s, 4300
// packets, nearly all of it the simulator's.
func BenchmarkSimulation(b *testing.B) {
	n := newNetwork(47, path{rate: 50 * mbit, rtt: 50 * ms, loss: 0.01}.buffered(1))
	n.ours().start(0)
	for b.Loop() {
		n.run(n.now + second)
	}
}
