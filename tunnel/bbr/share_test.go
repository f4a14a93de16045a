package bbr

import (
	"fmt"
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
func TestFairness(t *testing.T) {
	links := []path{
		{rate: 5 * mbit, rtt: 50 * ms},
		{rate: 10 * mbit, rtt: 20 * ms},
		{rate: 20 * mbit, rtt: 100 * ms},
		{rate: 50 * mbit, rtt: 40 * ms},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, link := range links {
			for _, bdps := range []float64{0.5, 1, 4} {
				p := link.buffered(bdps)
				parallel(t, fmt.Sprintf("%v/%gBDP", p, bdps), func(t *testing.T) {
					n := newNetwork(11, p)
					a, b := n.ours().start(0), n.ours().start(2*second)
					n.run(40 * second)
					first, second := a.goodput(10*second, 40*second), b.goodput(10*second, 40*second)
					share, total := second/(first+second), (first+second)/float64(p.rate)
					figures.add(min(share, 1-share), "%v, queue of %g BDP: %.1f and %.1f Mbit/s, together %.3f of the link", p, bdps,
						first/mbit, second/mbit, total)
					if share < 0.4 || share > 0.6 {
						t.Errorf("the later flow got %.3f, want 0.40 to 0.60", share)
					}
					if total < 0.9 {
						t.Errorf("together they used %.3f of the link", total)
					}
				})
			}
		}
	})
	figures.print(t, 12)
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
						t.Errorf("CUBIC got %.3f of the link, want 0.10", 1-share)
					}
				})
			}
		}
	})
	figures.print(t, 12)
}
