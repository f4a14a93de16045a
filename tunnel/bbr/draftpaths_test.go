package bbr

import "testing"

func TestDraftCorrectlyManagingSubPacketBDPs(t *testing.T) {
	n := newNetwork(37, path{rate: mbit, rtt: 2 * ms}.buffered(1))
	f := n.ours().start(0)
	lowest := int64(1 << 40)
	n.runUntil(15*second, func() bool {
		lowest = min(lowest, f.bbr.Window())
		return false
	})
	if lowest < 4*packetSize {
		t.Errorf("the window went down to %d bytes, want four packets", lowest)
	}
	share := f.goodput(2*second, 15*second) / float64(n.rate)
	waited := n.waited(2*second, 15*second, 0.5, 0.95)
	t.Logf("%.3f of the link, queued %v, p95 %v", share, waited[0], waited[1])
	if share < 0.95 {
		t.Errorf("used %.3f of the link", share)
	}
	if waited[0] > n.shortest() {
		t.Errorf("half of the packets waited %v, want at most %v", waited[0], n.shortest())
	}
	if f.lostPackets > 20 {
		t.Errorf("lost %d packets", f.lostPackets)
	}
}

func TestDraftIncreasingBandwidth10xAndEnsuringFullBandwidthIsReached(t *testing.T) {
	n := newNetwork(37, path{rate: 10 * mbit, rtt: 40 * ms, queue: 400_000})
	f := n.ours().start(0)
	n.run(5 * second)
	f.await(t, "cruise", 5*second)
	change := n.now
	n.rate *= 10
	began := change // of the probe that got there
	found := n.runUntil(change+15*second, func() bool {
		if f.bbr.State() != "up" && f.bbr.State() != "refill" {
			began = n.now
		}
		return float64(f.bbr.Bandwidth())*8 > 0.95*float64(n.rate)
	})
	t.Logf("found after %v, %.1f round trips after the probe began", n.now-change, (n.now-began).Seconds()/n.rtt.Seconds())
	// Growth is a quarter a round trip, so ten times need eleven, in one probe or
	// two, and three seconds at most until the first.
	if !found || n.now-change > 7*second {
		t.Errorf("100 Mbit/s were found after %v", n.now-change)
		trace(t, f, change-second, n.now)
	}
}

func TestDraftDecreasingBandwidth10xAndEnsuringMaxBandwidthAdaptsDown(t *testing.T) {
	n := newNetwork(37, path{rate: 100 * mbit, rtt: 40 * ms, queue: 400_000})
	f := n.ours().start(0)
	n.run(5 * second)
	f.await(t, "cruise", 5*second)
	change := n.now
	n.rate /= 10
	short := float64(f.bbr.Bandwidth()) * 8
	n.runUntil(change+2*second, func() bool {
		short = min(short, float64(f.bbr.Bandwidth())*8)
		return false
	})
	n.runUntil(change+20*second, func() bool { return float64(f.bbr.Bandwidth())*8 < 1.1*float64(n.rate) })
	took := n.now - change
	lost := f.lostPackets
	n.run(change + 20*second)
	t.Logf("for a while %.1f Mbit/s, down to 10 after %v, %d packets lost until then and %d of %d after", short/mbit, took, lost,
		f.lostPackets-lost, f.next)
	if short > 75*mbit { // bw_shortterm: a round trip over the full queue takes 0.4 s, and loss takes three tenths off
		t.Errorf("in two seconds it went down to %.1f Mbit/s only", short/mbit)
		trace(t, f, change-second, change+2*second)
	}
	if took > 10*second { // two cycles of three seconds, and the one in which it happened
		t.Errorf("the bandwidth was right after %v", took)
		trace(t, f, change-second, n.now)
	}
}

func TestDraftHandlingTokenBucketPolicers(t *testing.T) {
	for _, bucket := range []int64{20_000, 100_000, 500_000} {
		n := newNetwork(37, path{rate: 10 * mbit, rtt: 40 * ms, bucket: bucket})
		f := n.ours().start(0)
		n.run(10 * second)
		sent, dropped := f.next, n.dropped
		n.run(30 * second)
		share := f.goodput(10*second, 30*second) / float64(n.rate)
		lost := float64(n.dropped-dropped) / float64(f.next-sent)
		t.Logf("bucket of %d bytes: %.3f of the rate, lost %.3f", bucket, share, lost)
		if share < 0.85 || lost > 0.05 {
			t.Errorf("bucket of %d bytes: %.3f of the rate, lost %.3f", bucket, share, lost)
			trace(t, f, 20*second, 30*second)
		}
	}
}

func TestDraftEnteringAndExitingProbeRTTDuringStartup(t *testing.T) {
	// Frames that queue a little, so that no round trip is as short as the first.
	n := newNetwork(37, draftPath)
	f := n.ours()
	f.frames(0, 12*second, 4*mbit)
	n.at(second, func() { n.rtt += 10 * ms })
	n.run(12 * second)
	begin, end, ok := f.visit("probe-rtt", 0, 0)
	if !ok {
		trace(t, f, 0, n.now)
		t.Fatal("no ProbeRTT in twelve seconds")
	}
	if end.state != "startup" {
		t.Errorf("went on to %s after %v", end.state, end.at-begin.at)
	}
	f.start(n.now)
	n.run(n.now + 3*second)
	if got := float64(f.bbr.Bandwidth()) * 8; got < 0.9*float64(n.rate) {
		t.Errorf("then found %.1f Mbit/s", got/mbit)
	}
}

func TestDraftHandlingLossDuringProbeUpAfterInflightLongtermIsSet(t *testing.T) {
	// A short queue: each probe overflows it, and the first sets the bound.
	n := newNetwork(37, path{rate: 20 * mbit, rtt: 50 * ms}.buffered(0.2))
	f := n.ours().start(0)
	n.run(20 * second)
	probes := 0
	for nth := 1; ; nth++ {
		begin, end, ok := f.visit("up", 0, nth)
		if !ok {
			break
		}
		if end.lost == begin.lost {
			continue
		}
		probes++
		if end.state != "down" {
			t.Errorf("a probe with loss went on to %s", end.state)
		}
		if took := end.at - begin.at; took > 10*n.rtt { // it ends when the rate grows no more: see noise.go
			t.Errorf("a probe with loss lasted %v", took)
		}
	}
	if probes == 0 {
		t.Error("no probe lost anything")
	}
	share := f.goodput(3*second, 20*second) / float64(n.rate)
	lost := float64(f.lostPackets) / float64(f.next)
	t.Logf("%d probes with loss; %.3f of the link, lost %.4f", probes, share, lost)
	if share < 0.85 || lost > 0.04 {
		t.Errorf("%.3f of the link, lost %.4f", share, lost)
		trace(t, f, 10*second, n.now)
	}
}

func TestDraftHandlingApplicationLimitedSendingDuringProbeRefill(t *testing.T) {
	n := newNetwork(37, draftPath)
	f := n.ours().start(0)
	n.run(2 * second)
	before := f.bbr.Bandwidth()
	f.await(t, "refill", 5*second)
	f.bulk = false
	began := n.now
	f.frames(began, began+200*ms, 2*mbit)
	f.start(began + 200*ms)
	lowest := before
	n.runUntil(began+5*second, func() bool {
		lowest = min(lowest, f.bbr.Bandwidth())
		return false
	})
	if float64(lowest) < 0.95*float64(before) {
		t.Errorf("the bandwidth fell from %d to %d", before, lowest)
		trace(t, f, began, n.now)
	}
	if _, end, ok := f.visit("refill", began, 0); !ok || end.state != "up" {
		t.Errorf("refill went on to %q", end.state)
		trace(t, f, began, n.now)
	}
	if got := f.goodput(began+second, began+5*second) / float64(n.rate); got < 0.9 {
		t.Errorf("used %.3f of the link afterwards", got)
	}
}
