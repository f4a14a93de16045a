package bbr

import (
	"fmt"
	"testing"
	"time"
)

const (
	ms     = time.Millisecond
	second = time.Second
	kbit   = 1_000
	mbit   = 1_000_000
)

func (p path) String() string {
	return fmt.Sprintf("%gMbit/%v", float64(p.rate)/mbit, p.rtt)
}

// parallel runs a subtest beside the others.
func parallel(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

// trace logs what the controller was like when it entered each state between
// from and to.
func trace(t *testing.T, f *flow, from, to Time) {
	t.Helper()
	for _, p := range f.visits {
		if p.at >= from && p.at <= to {
			t.Logf("%8.3fs %-9s window %4.0f in flight %4.0f packets, bandwidth %7.3f Mbit/s, lost %d", p.at.Seconds(), p.state,
				float64(p.window)/packetSize, float64(p.inflight)/packetSize, float64(p.bandwidth)*8/mbit, p.lost)
		}
	}
}

// The simulator must be right before it judges: a sender of known rate and
// CUBIC do on it what they do on real links.
func TestSimulator(t *testing.T) {
	p := path{rate: 10 * mbit, rtt: 50 * ms}.buffered(2)
	t.Run("fixed rate", func(t *testing.T) {
		n := newNetwork(1, p)
		every := n.transmission(packetSize) * 2
		f := n.join(&metronome{every: every, window: 1 << 40}).start(0)
		n.run(10 * second)
		if got, want := f.goodput(second, 10*second), float64(p.rate)/2; got < 0.99*want || got > 1.01*want {
			t.Errorf("got %.0f bit/s, want %.0f", got, want)
		}
		if worst := n.waited(0, n.now, 1)[0]; worst > 2*n.transmission(packetSize) {
			t.Errorf("a packet waited %v on a link that was half empty", worst)
		}
		if f.lostPackets != 0 {
			t.Errorf("lost %d packets", f.lostPackets)
		}
	})
	t.Run("fixed window", func(t *testing.T) {
		n := newNetwork(1, p)
		f := n.join(&metronome{window: p.bdp() * 3 / 2}).start(0)
		n.run(10 * second)
		if got, want := f.goodput(second, 10*second), 0.98*float64(p.rate); got < want {
			t.Errorf("got %.0f bit/s, want %.0f", got, want)
		}
		if got, want := n.waited(second, n.now, 0.5)[0], p.rtt/2; got < want*8/10 || got > want*12/10 {
			t.Errorf("packets waited %v, want %v", got, want)
		}
	})
	t.Run("overload", func(t *testing.T) {
		n := newNetwork(1, p)
		f := n.join(&metronome{every: n.transmission(packetSize) / 2, window: 1 << 40}).start(0)
		n.run(10 * second)
		lost := float64(f.lostPackets) * packetSize / float64(f.sentBytes)
		if got, want := f.goodput(second, 10*second), 0.98*float64(p.rate); got < want || lost < 0.45 || lost > 0.51 {
			t.Errorf("got %.0f bit/s, want %.0f; lost %.3f, want a half", got, want, lost)
		}
	})
	t.Run("random loss", func(t *testing.T) {
		lossy := p
		lossy.loss = 0.1
		n := newNetwork(1, lossy)
		f := n.join(&metronome{every: n.transmission(packetSize) * 2, window: 1 << 40}).start(0)
		n.run(20 * second)
		if got, want := f.goodput(second, 19*second), 0.45*float64(p.rate); got < 0.98*want || got > 1.02*want {
			t.Errorf("got %.0f bit/s, want %.0f", got, want)
		}
	})
	t.Run("CUBIC", func(t *testing.T) {
		n := newNetwork(1, p)
		f, g := n.theirs().start(0), n.theirs().start(second)
		n.run(60 * second)
		a, b := f.goodput(10*second, 60*second), g.goodput(10*second, 60*second)
		if a+b < 0.95*float64(p.rate) || a < b/2 || b < a/2 {
			t.Errorf("two flows got %.0f and %.0f bit/s", a, b)
		}
		lossy := p
		lossy.loss = 0.01
		n = newNetwork(1, lossy)
		f = n.theirs().start(0)
		n.run(30 * second)
		// Reno's 1.2/sqrt(loss) packets per round trip are 2.8 Mbit/s.
		if got := f.goodput(5*second, 30*second); got < 1.5*mbit || got > 5*mbit {
			t.Errorf("with 1 %% of loss it got %.0f bit/s", got)
		}
	})
}
