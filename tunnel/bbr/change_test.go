package bbr

import (
	"fmt"
	"testing"
)

// TestStart measures how fast a flow finds the rate of its link, and what it
// puts into the queue meanwhile.
func TestStart(t *testing.T) {
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, rate := range []int64{10, 50, 200} {
			for _, rtt := range []Time{20, 50, 200} {
				for _, known := range []bool{true, false} {
					p := path{rate: rate * mbit, rtt: rtt * ms}.buffered(10)
					parallel(t, fmt.Sprintf("%v/%v", p, known), func(t *testing.T) {
						n := newNetwork(5, p)
						config := Config{PacketSize: packetSize}
						if known {
							config.RTT = p.rtt
						}
						f := n.join(New(config, 0)).start(0)
						found := n.runUntil(5*second, func() bool { return float64(f.bbr.Bandwidth())*8 >= 0.9*float64(p.rate) })
						took := n.now
						n.run(took + 10*p.rtt)
						// Packets go in pairs at least, and the first path is short.
						highest := float64(f.maxInflight-2*packetSize) / float64(p.bdp())
						rounds := took.Seconds() / p.rtt.Seconds()
						figures.add(-rounds, "%v RTT known %v: 90 %% after %.1f round trips, in flight up to %.2f BDP", p, known, rounds, highest)
						if !found || rounds > 16 {
							t.Errorf("90 %% of the rate after %.1f round trips", rounds)
							trace(t, f, 0, n.now)
						}
						if highest > 2.5 {
							t.Errorf("in flight were %.2f BDP", highest)
							trace(t, f, 0, n.now)
						}
					})
				}
			}
		}
	})
	figures.print(t, 18)
}

// settles returns how long after from the goodput of f comes within a tenth of
// the link's rate and stays there for a second.
func settles(f *flow, from, to Time) Time {
	for at := from; at+second <= to; at += binOf {
		if share := f.goodput(at, at+second) / float64(f.net.rate); share >= 0.9 {
			return at - from
		}
	}
	return to - from
}

// calms returns how long after from the packets of a second no longer wait for
// longer than a round trip, half of them.
func calms(n *network, from, to Time) Time {
	for at := from; at+second <= to; at += binOf {
		if n.waited(at, at+second, 0.5)[0] < max(n.rtt, n.shortest()) {
			return at - from
		}
	}
	return to - from
}

// TestRateChange changes the rate of the link under a running flow.
func TestRateChange(t *testing.T) {
	const change, end = 10 * second, 40 * second
	cases := []struct {
		factor float64
		within Time // bandwidth is found and the queue is short
	}{
		{0.5, 8 * second}, // two cycles of probing, each up to 3 s, and a bit
		{2, 5 * second},   // one cycle, and some rounds of growth
		{0.1, 10 * second},
		{10, 6 * second},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, c := range cases {
			for _, link := range []path{{rate: 10 * mbit, rtt: 30 * ms}, {rate: 20 * mbit, rtt: 100 * ms}} {
				p := link.buffered(2)
				parallel(t, fmt.Sprintf("%v/x%g", p, c.factor), func(t *testing.T) {
					n := newNetwork(17, p)
					f := n.ours().start(0)
					n.run(change)
					n.rate = int64(float64(n.rate) * c.factor)
					n.queue = max(int64(float64(n.queue)*c.factor), 32*packetSize)
					n.run(end)
					took, calmed := settles(f, change, end), calms(n, change, end)
					after := change + c.within
					share := f.goodput(after, end) / float64(n.rate)
					waited := n.waited(after, end, 0.5, 0.95)
					figures.add(-max(took, calmed).Seconds(), "%v x %g: within a tenth after %v, queue short after %v; then %.3f of the link, queued %v, p95 %v",
						p, c.factor, took, calmed, share, waited[0].Round(ms), waited[1].Round(ms))
					if took > c.within || share < 0.9 {
						t.Errorf("within a tenth of the new rate after %v, then %.3f of it", took, share)
						trace(t, f, change-second, after)
					}
					if calmed > c.within {
						t.Errorf("the queue was long for %v", calmed)
						trace(t, f, change-second, after)
					}
				})
			}
		}
	})
	figures.print(t, 8)
}

// TestRateFall makes the link slower by so much that its queue lasts longer than the
// controller's cycles.
func TestRateFall(t *testing.T) {
	const change, within, end = 10 * second, 30 * second, 80 * second
	for _, factor := range []int64{20, 50, 100} {
		for _, wait := range []Time{second, 2 * second, 4 * second} {
			for _, rate := range []int64{mbit, 2 * mbit} {
				p := path{rate: rate * factor, rtt: 20 * ms, queue: int64(wait.Seconds() * float64(rate) / 8)}
				parallel(t, fmt.Sprintf("%v/%d/%v", p, factor, wait), func(t *testing.T) {
					n := newNetwork(17, p)
					f := n.ours().start(0)
					n.run(change)
					n.rate = rate
					n.run(end)
					share := f.goodput(change+within, end) / float64(rate)
					queued := n.waited(change+within, end, 0.5)[0]
					t.Logf("%v to %d Mbit/s, queue %v: calm after %v, then %.3f of the link, queued %v", p, rate/mbit, wait,
						calms(n, change, end), share, queued.Round(ms))
					if share < 0.9 || queued > 500*ms {
						t.Errorf("%v after the rate fell, %.3f of it arrives, and half of the packets wait for %v", within, share, queued)
						trace(t, f, change-second, end)
					}
				})
			}
		}
	}
}

// TestPathChange moves a flow to another path and tells the controller.
func TestPathChange(t *testing.T) {
	old := path{rate: 20 * mbit, rtt: 40 * ms}
	links := []path{
		{rate: 2 * mbit, rtt: 40 * ms}, {rate: 200 * mbit, rtt: 40 * ms},
		{rate: 20 * mbit, rtt: 4 * ms}, {rate: 20 * mbit, rtt: 200 * ms},
		{rate: 2 * mbit, rtt: 200 * ms}, {rate: 100 * mbit, rtt: 10 * ms},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, link := range links {
			for seed := range uint64(3) {
				p := link.buffered(2)
				parallel(t, fmt.Sprintf("%v/%d", p, seed), func(t *testing.T) { moves(t, old, p, seed, &figures) })
			}
		}
	})
	figures.print(t, 18)
}

// moves is one case of TestPathChange.
func moves(t *testing.T, old, p path, seed uint64, figures *table) {
	const change, within = 8 * second, 3 * second
	n := newNetwork(319+seed, old.buffered(2))
	f := n.ours().start(0)
	n.run(change)
	n.path = p
	f.bbr.Reset(n.now)
	n.run(change + 13*second)
	took := settles(f, change, n.now)
	share := f.goodput(change+within, n.now) / float64(p.rate)
	waited := n.waited(change+within, n.now, 0.5)[0]
	figures.add(-took.Seconds(), "from %v to %v: within a tenth after %v, then %.3f of the link, queued %v, RTT %v", old, p, took,
		share, waited.Round(ms/10), f.bbr.MinRTT().Round(ms/10))
	if took > within || share < 0.9 {
		t.Errorf("within a tenth of the new rate after %v, then %.3f of it", took, share)
		trace(t, f, change-second, change+within)
	}
	if want := max(p.rtt, n.shortest()); waited >= want {
		t.Errorf("half of the packets waited more than %v, want %v", waited, want)
		trace(t, f, change-second, change+within)
	}
	if got := f.bbr.MinRTT(); got < p.rtt || got > p.rtt*3/2+n.shortest() {
		t.Errorf("the round trip is taken for %v, want %v", got, p.rtt)
	}
}

// TestLiveVideo has an application that sends less than the path would carry.
func TestLiveVideo(t *testing.T) {
	p := path{rate: 20 * mbit, rtt: 40 * ms}.buffered(2)
	t.Run("after bulk", func(t *testing.T) {
		n := newNetwork(23, p)
		f := n.ours().start(0)
		f.pause(5 * second)
		f.frames(5*second, 40*second, 8*mbit)
		n.run(5 * second)
		before := f.bbr.Bandwidth()
		lowest := before
		n.runUntil(40*second, func() bool {
			lowest = min(lowest, f.bbr.Bandwidth())
			return false
		})
		t.Logf("bandwidth %.1f Mbit/s before, at least %.1f during the video", float64(before)*8/mbit, float64(lowest)*8/mbit)
		if float64(lowest)*8 < 0.8*float64(p.rate) {
			t.Errorf("video pulled the bandwidth down to %.1f Mbit/s", float64(lowest)*8/mbit)
			trace(t, f, 4*second, 40*second)
		}
		if got := f.goodput(10*second, 40*second); got < 0.99*8*mbit {
			t.Errorf("of 8 Mbit/s arrived %.2f", got/mbit)
		}
	})
	t.Run("from the start", func(t *testing.T) {
		n := newNetwork(23, p)
		f := n.ours()
		f.frames(0, 20*second, 8*mbit)
		n.run(20 * second)
		waited := n.waited(2*second, 20*second, 0.5, 0.95)
		t.Logf("arrived %.2f Mbit/s, queued %v, p95 %v, bandwidth %.1f Mbit/s", f.goodput(2*second, 20*second)/mbit,
			waited[0].Round(ms/10), waited[1].Round(ms/10), float64(f.bbr.Bandwidth())*8/mbit)
		if got := f.goodput(2*second, 20*second); got < 0.99*8*mbit {
			t.Errorf("of 8 Mbit/s arrived %.2f", got/mbit)
			trace(t, f, 0, 20*second)
		}
	})
}

// TestIdle has an application that sends nothing for a while, and then much.
func TestIdle(t *testing.T) {
	for _, idle := range []Time{second, 10 * second, 60 * second} {
		t.Run(idle.String(), func(t *testing.T) {
			p := path{rate: 20 * mbit, rtt: 40 * ms}.buffered(2)
			n := newNetwork(29, p)
			f := n.ours().start(0)
			f.pause(8 * second)
			again := 8*second + idle
			f.start(again)
			n.run(again - ms)
			f.maxInflight = 0
			n.run(again + 3*second)
			early := f.goodput(again+binOf, again+5*binOf) / float64(p.rate)
			t.Logf("%.3f of the link from 0.1 to 0.5 s after the restart, in flight up to %.2f BDP", early, float64(f.maxInflight)/float64(p.bdp()))
			if early < 0.85 {
				t.Errorf("began with %.3f of the link", early)
				trace(t, f, 7*second, n.now)
			}
			for _, ph := range f.visits {
				if ph.state == "probe-rtt" && ph.at >= again && ph.at < again+2*second {
					t.Errorf("probed for the round trip %v after it had been idle", ph.at-again)
				}
			}
			if lost := f.lostPackets - f.visits[len(f.visits)-1].lost; lost > 20 {
				t.Errorf("lost %d packets", lost)
			}
		})
	}
}

// TestOutage has a link carry nothing for a while, as when a phone changes its
// cell.
func TestOutage(t *testing.T) {
	const begin = 8 * second
	for _, length := range []Time{300 * ms, 3 * second} {
		for _, loss := range []float64{0, 0.03} {
			t.Run(fmt.Sprintf("%v/%g", length, loss), func(t *testing.T) {
				n := newNetwork(53, path{rate: 20 * mbit, rtt: 50 * ms, loss: loss}.buffered(2))
				f := n.ours().start(0)
				n.at(begin, func() { n.loss, n.lossACK = 1, 1 })
				n.at(begin+length, func() { n.loss, n.lossACK = loss, 0 })
				end := begin + length
				n.run(end + 10*second)
				took := settles(f, end, end+10*second)
				share := f.goodput(end+4*second, end+10*second) / float64(n.rate)
				t.Logf("within a tenth after %v, then %.3f of the link", took, share)
				// The probe timeout has doubled up to the length of the outage.
				if took > length+second || share < 0.9 {
					t.Errorf("within a tenth of the rate after %v, then %.3f of it", took, share)
					trace(t, f, begin-second, end+5*second)
				}
			})
		}
	}
}
