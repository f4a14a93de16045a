package bbr

import (
	"testing"
	"time"
)

// A round trip that is nearly the shortest shows that the queue is empty; one that
// is longer does not, and after five seconds it is time to look.
func TestEmptyQueueSparesProbeRTT(t *testing.T) {
	for _, c := range []struct {
		rtt   time.Duration
		spare bool
	}{
		{10 * ms, true},
		{10*ms + 10*ms/emptyWithin + emptyTimer, true},
		{10*ms + 10*ms/emptyWithin + emptyTimer + 1, false},
		{15 * ms, false},
	} {
		s := newShortest(0, 0)
		s.update(0, 10*ms)
		spared := true
		for now := second; now < 9*second; now += second {
			spared = spared && !s.update(now, c.rtt)
		}
		if spared != c.spare || s.known() > c.rtt {
			t.Errorf("round trips of %v: no probe is due: %v, want %v; the shortest is %v", c.rtt, spared, c.spare, s.known())
		}
	}
}

// A loss after yielding takes nothing of it back, and what arrives is not lowered
// again and again while others keep the queue standing.
func TestBoundsOnlyFall(t *testing.T) {
	c := New(Config{PacketSize: packetSize, RTT: 40 * ms}, 0)
	c.phase, c.maxBW.current, c.window = cruise, 1000_000, 100*packetSize
	c.minRTT, c.rounds.least = newShortest(40*ms, 0), 80*ms
	c.bwShort = 600_000
	c.loss.bwLatest = 700_000
	c.lowerBounds()
	if c.bwShort != 600_000 {
		t.Errorf("bound of %d after a loss, want it as it was, 600000", c.bwShort)
	}
	c.resetShortTerm()
	for range 50 {
		c.lowerBounds()
		c.loss.bwLatest = min(c.loss.bwLatest, c.bwShort)
	}
	if want := int64(drains * 700_000); c.bwShort != want {
		t.Errorf("bound of %d after many losses, want %d", c.bwShort, want)
	}
}

// What is lost while the queue is short is no reason to slow down, if it has ever
// been long and is not beyond all noise.
func TestInnocentLoss(t *testing.T) {
	for _, c := range []struct {
		deep    bool
		rtt     time.Duration // while it was lost
		share   float64
		packets int64
		want    bool
	}{
		{true, 45 * ms, 0.1, 1000, true},
		{true, 45 * ms, 0.2, 1000, true},
		{true, 45 * ms, 0.22, 1000, true},
		{true, 45 * ms, 0.23, 1000, false}, // two deviations beyond
		{true, 45 * ms, 0.4, 15, true},
		{true, 45 * ms, 0.42, 15, false},
		{true, 60 * ms, 0.1, 1000, false},
		{false, 45 * ms, 0.1, 1000, false},
		{true, 0, 0.1, 1000, false}, // nothing has arrived
	} {
		x := New(Config{PacketSize: packetSize, RTT: 40 * ms}, 0)
		x.minRTT, x.noise.deep = newShortest(40*ms, 0), c.deep
		if c.rtt > 0 {
			x.loss.rtt, x.loss.samples = 10*c.rtt, 10
		}
		volume := c.packets * packetSize
		lost := int64(c.share * float64(volume))
		if got := x.innocent(lost, volume-lost); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
