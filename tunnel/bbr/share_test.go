package bbr

import (
	"fmt"
	"math"
	"testing"
)

// TestBufferbloat has one flow alone before a queue of ten bandwidth-delay
// products, which it must not fill.
func TestBufferbloat(t *testing.T) {
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, rate := range []int64{1, 10, 100} {
			for _, rtt := range []Time{10, 50, 200} {
				p := path{rate: rate * mbit, rtt: rtt * ms}.buffered(10)
				parallel(t, p.String(), func(t *testing.T) {
					n := newNetwork(3, p)
					f := n.ours().start(0)
					n.run(25 * second)
					waited := n.waited(5*second, 25*second, 0.5, 0.95)
					share := f.goodput(5*second, 25*second) / float64(p.rate)
					figures.add(share, "%v: %.3f of the link, queued %v, p95 %v", p, share, waited[0].Round(ms/10), waited[1].Round(ms/10))
					if want := max(p.rtt, n.shortest()); waited[0] >= want {
						t.Errorf("half of the packets waited more than %v, want %v", waited[0], want)
					}
					if share < 0.9 {
						t.Errorf("used %.3f of the link", share)
					}
				})
			}
		}
	})
	figures.print(t, 9)
}

// TestFairness has two flows of ours share a link, the second one later.
//
// Before a short queue on a long path it takes about a minute to even shares out:
// both flows are bounded by inflight_longterm, which grows by a few packets in each
// probe, for both alike, and loses less than it has grown. Hence the lower limits.
func TestFairness(t *testing.T) {
	const runs = 6 // one alone is a matter of luck
	cases := []struct {
		path
		queue float64 // BDP
		least float64 // share of the later flow
	}{
		{path{rate: 5 * mbit, rtt: 50 * ms}, 0.5, 0.4},
		{path{rate: 5 * mbit, rtt: 50 * ms}, 4, 0.4},
		{path{rate: 10 * mbit, rtt: 20 * ms}, 1, 0.4},
		{path{rate: 10 * mbit, rtt: 20 * ms}, 4, 0.4},
		{path{rate: 20 * mbit, rtt: 100 * ms}, 0.5, 0.27},
		{path{rate: 20 * mbit, rtt: 100 * ms}, 1, 0.35},
		{path{rate: 20 * mbit, rtt: 100 * ms}, 2, 0.35},
		{path{rate: 20 * mbit, rtt: 100 * ms}, 4, 0.4},
		{path{rate: 50 * mbit, rtt: 40 * ms}, 0.5, 0.4},
		{path{rate: 50 * mbit, rtt: 40 * ms}, 1, 0.4},
		{path{rate: 50 * mbit, rtt: 40 * ms}, 4, 0.4},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, c := range cases {
			p := c.buffered(c.queue)
			parallel(t, fmt.Sprintf("%v/%gBDP", p, c.queue), func(t *testing.T) {
				var share, total, later float64
				for run := range uint64(runs) {
					n := newNetwork(11+run, p)
					a, b := n.ours().start(0), n.ours().start(2*second)
					n.run(40 * second)
					x, y := a.goodput(10*second, 40*second), b.goodput(10*second, 40*second)
					share += y / (x + y) / runs
					total += (x + y) / float64(p.rate) / runs
					x, y = a.goodput(30*second, 40*second), b.goodput(30*second, 40*second)
					later += y / (x + y) / runs
				}
				figures.add(-math.Abs(share-0.5), "%v, queue of %g BDP: %.2f for the later flow, %.2f in the last ten seconds, together %.3f of the link",
					p, c.queue, share, later, total)
				if share < c.least || share > 0.6 {
					t.Errorf("the later flow got %.3f, want %.2f to 0.60", share, c.least)
				}
				if total < 0.94 {
					t.Errorf("together they used %.3f of the link", total)
				}
			})
		}
	})
	figures.print(t, len(cases))
}

// TestBesideCubic has a flow of ours share a link with CUBIC. Neither may starve.
func TestBesideCubic(t *testing.T) {
	const until = 60 * second
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, link := range []path{{rate: 10 * mbit, rtt: 40 * ms}, {rate: 40 * mbit, rtt: 30 * ms}, {rate: 20 * mbit, rtt: 100 * ms}} {
			for _, bdps := range []float64{0.5, 1, 2, 4} {
				p := link.buffered(bdps)
				parallel(t, fmt.Sprintf("%v/%gBDP", p, bdps), func(t *testing.T) {
					n := newNetwork(13, p)
					a, b := n.ours().start(0), n.theirs().start(0)
					n.run(until)
					ours, theirs := a.goodput(10*second, until), b.goodput(10*second, until)
					share := ours / (ours + theirs)
					figures.add(share, "%v, queue of %g BDP: ours %.1f, CUBIC %.1f Mbit/s", p, bdps, ours/mbit, theirs/mbit)
					if share < 0.25 {
						t.Errorf("ours got %.3f of the link, want 0.25", share)
					}
					if share > 0.90 {
						t.Errorf("CUBIC got %.3f of the link, want 0.07", 1-share)
					}
				})
			}
		}
	})
	figures.print(t, 12)
}

// TestManyFlows has many flows of ours meet at a queue too short to show, and at
// policers. What they lose there is their own doing: who takes it for noise
// makes up for it, and all drive each other to lose ever more.
func TestManyFlows(t *testing.T) {
	link := path{rate: 20 * mbit, rtt: 50 * ms}
	policer := func(bucket int64) path {
		p := link
		p.bucket = bucket
		return p
	}
	cases := []struct {
		name string
		path path
	}{
		{"queue of 0.4 BDP", link.buffered(0.4)},
		{"queue of 1 BDP", link.buffered(1)},
		{"queue of 12 packets", path{rate: 20 * mbit, rtt: 50 * ms, queue: 12 * packetSize}},
		{"policer, 20 kB", policer(20_000)},
		{"policer, 100 kB", policer(100_000)},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, c := range cases {
			for _, flows := range []int{2, 4, 8} {
				parallel(t, fmt.Sprintf("%s/%d", c.name, flows), func(t *testing.T) {
					n := newNetwork(59, c.path)
					all := make([]*flow, flows)
					for i := range all {
						all[i] = n.ours().start(Time(i) * 700 * ms)
					}
					var sent, lost int64
					count := func(sign int64) {
						for _, f := range all {
							sent += sign * f.next
							lost += sign * int64(f.lostPackets)
						}
					}
					n.run(10 * second)
					count(-1)
					n.run(30 * second)
					count(1)
					var total, least float64
					for i, f := range all {
						got := f.goodput(10*second, 30*second) / float64(n.rate)
						total += got
						if i == 0 || got < least {
							least = got
						}
					}
					share := float64(lost) / float64(sent)
					figures.add(-share, "%s, %d flows: lost %.3f, together %.3f of the link, the least %.3f", c.name, flows, share, total, least)
					// A queue that never shows itself cannot be told from noise: a probe goes on
					// until the rate grows no more, and many probe at a time. That is the price
					// of not collapsing where the loss is noise; it does not grow with time.
					if want := 0.04 + 0.025*float64(flows); share > want {
						t.Errorf("lost %.3f, want %.3f", share, want)
					}
					if total < 0.94 {
						t.Errorf("together they used %.3f of the link", total)
					}
					if want := 0.25 / float64(flows); least < want {
						t.Errorf("one got %.3f of the link, want %.3f", least, want)
					}
				})
			}
		}
	})
	figures.print(t, 15)
}
