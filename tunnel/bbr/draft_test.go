package bbr

import (
	"fmt"
	"testing"
)

// The test cases of the draft's appendix "BBR Example Test Cases", by their
// names, as far as they can be seen from outside. Two of them, "Handling Spurious
// Fast Recovery" and "Handling Spurious RTO Recovery", have no test: quic-go
// does not tell that a loss was spurious (TestNoise has reordering).

// visit returns the nth stay of f in state from the given moment on, 0 being the
// first, and when it ended; ok is false if there was none that has ended.
func (f *flow) visit(state string, from Time, nth int) (begin, end visit, ok bool) {
	for i, v := range f.visits {
		if v.state != state || v.at < from || i+1 == len(f.visits) {
			continue
		}
		if nth--; nth < 0 {
			return v, f.visits[i+1], true
		}
	}
	return visit{}, visit{}, false
}

// in reports whether the controller is in the given state.
func (f *flow) in(state string) func() bool { return func() bool { return f.bbr.State() == state } }

// await lets the network live until the controller is in the given state.
func (f *flow) await(t *testing.T, state string, within Time) {
	t.Helper()
	if !f.net.runUntil(f.net.now+within, f.in(state)) {
		trace(t, f, 0, f.net.now)
		t.Fatalf("no %s within %v", state, within)
	}
}

// pace returns the rate of sending between two visits as a share of the link's.
func (n *network) pace(a, b visit) float64 {
	return float64(b.sentBytes-a.sentBytes) * 8 / (b.at - a.at).Seconds() / float64(n.rate)
}

var draftPath = path{rate: 20 * mbit, rtt: 50 * ms}.buffered(4)

func TestDraftExitingStartupOnBandwidthPlateau(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	var filled Time // when the last packet of growth was delivered
	n.runUntil(5*second, func() bool {
		if filled == 0 && float64(f.bbr.Bandwidth())*8 > 0.8*float64(n.rate) {
			filled = n.now
		}
		return f.bbr.State() != "startup"
	})
	if got := f.bbr.State(); got != "drain" {
		t.Fatalf("went from startup to %s, want drain", got)
	}
	if got := float64(f.bbr.Bandwidth()) * 8 / float64(n.rate); got < 0.98 || got > 1.02 {
		t.Errorf("the bandwidth is %.3f of the link's", got)
	}
	// Three rounds without growth, of up to two round trips each for the queue.
	if took := n.now - filled; took < 2*n.rtt || took > 8*n.rtt {
		t.Errorf("startup ended %v after the bandwidth was known", took)
	}
}

func TestDraftExitingStartupOnLossWhenApplicationLimited(t *testing.T) {
	// The draft wants 2 % of loss to be enough. Here loss that comes without a
	// queue is the path's noise (see the package comment), so the loss that has to
	// end the search is that of a queue: the application sends a little more than
	// the link carries, in frames.
	n := newNetwork(31, path{rate: 5 * mbit, rtt: 50 * ms}.buffered(0.5))
	f := n.ours()
	f.frames(0, 10*second, 6*mbit)
	n.runUntil(10*second, func() bool { return f.bbr.State() != "startup" })
	if got := f.bbr.State(); got != "drain" {
		trace(t, f, 0, n.now)
		t.Fatalf("after ten seconds of loss it is in %s, want drain", got)
	}
	t.Logf("startup ended after %v, with %d packets lost", n.now.Round(ms), f.lostPackets)
}

func TestDraftExitingDrainBasedOnInflight(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	n.run(3 * second)
	begin, end, ok := f.visit("drain", 0, 0)
	if !ok {
		t.Fatal("it never drained")
	}
	if got := n.pace(begin, end); got > 0.6 {
		t.Errorf("sent at %.2f of the rate, want half of it", got)
	}
	if most := n.bdp() + 3*packetSize; end.inflight > most {
		t.Errorf("left with %d bytes in flight, want at most %d", end.inflight, most)
	}
	if took := end.at - begin.at; took > 3*n.rtt {
		t.Errorf("drained for %v", took)
	}
}

func TestDraftExitingDrainBasedOnTime(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	f.await(t, "drain", 5*second)
	// Half the rate over four times the round trip is still twice the estimated
	// BDP. Less rate alone, as in the draft, drains in time all the same.
	n.rtt *= 4
	n.rate = n.rate * 9 / 10
	n.run(10 * second)
	begin, end, _ := f.visit("drain", 0, 0)
	rounds := (end.at - begin.at).Seconds() / n.rtt.Seconds()
	t.Logf("left after %.1f round trips with %.2f BDP in flight", rounds, float64(end.inflight)/float64(draftPath.bdp()))
	if rounds < 1 || rounds > 5 {
		t.Errorf("left after %.1f round trips, want about three", rounds)
	}
	if end.state != "down" && end.state != "cruise" {
		t.Errorf("went on to %s", end.state)
	}
}

func TestDraftExitingProbeUpOnBandwidthPlateau(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	n.run(15 * second)
	for nth := range 3 {
		begin, end, ok := f.visit("up", 0, nth)
		if !ok || end.state != "down" {
			trace(t, f, 0, n.now)
			t.Fatalf("probe %d went on to %q", nth, end.state)
		}
		if end.lost != begin.lost {
			t.Errorf("probe %d lost %d packets", nth, end.lost-begin.lost)
		}
		if took := end.at - begin.at; took < 2*n.rtt || took > 8*n.rtt {
			t.Errorf("probe %d lasted %v", nth, took)
		}
		if got := n.pace(begin, end); got < 1.05 {
			t.Errorf("probe %d sent at %.2f of the rate", nth, got)
		}
	}
}

func TestDraftExitingProbeUpOnLossWhenApplicationLimited(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	n.run(2 * second)
	f.await(t, "up", 5*second)
	began := n.now
	f.bulk = false
	f.frames(began, began+5*second, 10*mbit)
	n.loss = 0.15
	n.run(began + 3*second)
	_, end, ok := f.visit("up", began, 0)
	// With little in flight, down and cruise are one.
	if !ok || end.state != "down" && end.state != "cruise" || end.at-began > 6*n.rtt {
		trace(t, f, began, n.now)
		t.Errorf("it did not end the probe within six round trips: %q after %v", end.state, end.at-began)
	}
}

func TestDraftNeverExitingProbeUpOrStartupWhenApplicationLimitedWithNoLoss(t *testing.T) {
	t.Run("startup", func(t *testing.T) {
		n := newNetwork(31, draftPath)
		f := n.ours()
		f.frames(0, 20*second, 3*mbit)
		n.run(20 * second)
		for _, v := range f.visits {
			if v.state != "startup" && v.state != "probe-rtt" {
				trace(t, f, 0, n.now)
				t.Fatalf("after %v it was in %s", v.at, v.state)
			}
		}
	})
	t.Run("up", func(t *testing.T) {
		n := newNetwork(31, draftPath)
		f := n.ours().start(0)
		n.run(2 * second)
		f.await(t, "up", 5*second)
		began := n.now
		f.bulk = false
		f.frames(began, began+10*second, 3*mbit)
		n.run(began + 10*second)
		if got := f.bbr.State(); got != "up" {
			trace(t, f, began, n.now)
			t.Errorf("ended in %s", got)
		}
	})
}

func TestDraftExitingProbeDownOnInflight(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	n.run(15 * second)
	for nth := range 3 {
		begin, end, ok := f.visit("down", second, nth)
		if !ok || end.state != "cruise" {
			trace(t, f, 0, n.now)
			t.Fatalf("from down it went to %q", end.state)
		}
		if got := n.pace(begin, end); got < 0.75 || got > 0.95 {
			t.Errorf("sent at %.2f of the rate, want 0.9", got)
		}
		if most := n.bdp() + 3*packetSize; end.inflight > most {
			t.Errorf("left with %d bytes in flight, want at most %d", end.inflight, most)
		}
	}
}

func TestDraftExitingProbeDownAfterMaxTime(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	f.await(t, "up", 5*second)
	f.await(t, "down", 5*second)
	began := n.now
	n.rate = n.rate * 85 / 100
	f.bbr.loss.yielded = true // so that it does not empty the queue after five rounds
	n.run(began + 5*second)
	_, end, ok := f.visit("down", began, 0)
	took := end.at - began
	if !ok || end.state != "refill" {
		trace(t, f, began, n.now)
		t.Fatalf("went on to %q after %v, want refill", end.state, took)
	}
	if took < second || took > 3100*ms {
		t.Errorf("that took %v, want two to three seconds", took)
	}
}

func TestDraftEnteringAndExitingProbeRTT(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	// The path gets longer, so that no round trip is as short as the first ones
	// and spares the probe.
	n.at(3*second, func() { n.rtt += 10 * ms })
	lowest := int64(1 << 40)
	n.runUntil(30*second, func() bool {
		if f.bbr.State() == "probe-rtt" {
			lowest = min(lowest, f.bbr.Window())
		}
		return false
	})
	begin, end, ok := f.visit("probe-rtt", 0, 0)
	if !ok || begin.at < 5*second || begin.at > 3*second+7*second {
		trace(t, f, 0, n.now)
		t.Fatalf("the first probe was at %v", begin.at)
	}
	if took := end.at - begin.at; took < 200*ms || took > 200*ms+5*n.rtt {
		t.Errorf("probed for %v", took)
	}
	if end.state != "cruise" && end.state != "down" {
		t.Errorf("went on to %s", end.state)
	}
	if most := n.bdp()*6/10 + packetSize; lowest > most {
		t.Errorf("the window was at least %d, want at most %d", lowest, most)
	}
	if next, _, ok := f.visit("probe-rtt", 0, 1); ok && next.at-end.at < 5*second {
		t.Errorf("probed again after %v", next.at-end.at)
	}
	if got := f.bbr.MinRTT(); got < n.rtt || got > n.rtt+5*ms {
		t.Errorf("the round trip is taken for %v, want %v", got, n.rtt)
	}
	if got := f.goodput(11*second, 30*second) / float64(n.rate); got < 0.95 {
		t.Errorf("used %.3f of the link", got)
	}
}

func TestDraftSkippingProbeRTTDueToApplicationLimitedSending(t *testing.T) {
	n := newNetwork(31, draftPath)
	f := n.ours().start(0)
	f.pause(4 * second)
	f.start(11 * second)
	n.run(14 * second)
	for _, v := range f.visits {
		if v.state == "probe-rtt" && v.at > 11*second {
			t.Errorf("probed %v after the pause", v.at-11*second)
		}
	}
	if got := f.goodput(11200*ms, 14*second) / float64(n.rate); got < 0.95 {
		t.Errorf("used %.3f of the link after the pause", got)
	}
}

func TestDraftAchievingExpectedStartupBandwidthOnALinkWithAggregation(t *testing.T) {
	for _, clump := range []Time{10, 20, 40} {
		t.Run(fmt.Sprint(clump*ms), func(t *testing.T) {
			p := path{rate: 50 * mbit, rtt: 20 * ms, clump: clump * ms}.buffered(5)
			n := newNetwork(31, p)
			f := n.ours().start(0)
			widest := int64(0)
			n.runUntil(5*second, func() bool {
				widest = max(widest, f.bbr.Window())
				return f.bbr.State() != "startup"
			})
			share := float64(f.bbr.Bandwidth()) * 8 / float64(n.rate)
			t.Logf("startup ended after %v with %.3f of the bandwidth, window up to %.2f BDP", n.now, share, float64(widest)/float64(p.bdp()))
			if share < 0.9 || share > 1.1 {
				t.Errorf("found %.3f of the bandwidth", share)
				trace(t, f, 0, n.now)
			}
			if widest < 2*p.bdp() {
				t.Errorf("the window was at most %.2f BDP, want more than 2", float64(widest)/float64(p.bdp()))
			}
		})
	}
}

func TestDraftAchievingExpectedCruiseBandwidthOnALinkWithAggregation(t *testing.T) {
	n := newNetwork(31, path{rate: 50 * mbit, rtt: 20 * ms}.buffered(5))
	f := n.ours().start(0)
	n.run(second)
	f.await(t, "cruise", 5*second)
	n.clump = 20 * ms
	from := n.now + second
	n.run(n.now + 15*second)
	if got := f.goodput(from, n.now) / float64(n.rate); got < 0.95 {
		t.Errorf("used %.3f of the link", got)
		trace(t, f, from, n.now)
	}
	if share := float64(f.bbr.Bandwidth()) * 8 / float64(n.rate); share > 1.15 {
		t.Errorf("takes the link for %.2f times as fast as it is", share)
	}
}
