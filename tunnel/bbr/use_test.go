package bbr

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A table collects the figures of parallel subtests, to print the worst.
type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct {
	merit float64
	text  string
}

// add adds a line; the less its merit, the worse.
func (b *table) add(merit float64, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows = append(b.rows, row{merit, fmt.Sprintf(format, args...)})
}

// print logs the worst lines.
func (b *table) print(t *testing.T, most int) {
	t.Helper()
	slices.SortFunc(b.rows, func(a, b row) int {
		switch {
		case a.merit < b.merit:
			return -1
		case a.merit > b.merit:
			return 1
		}
		return strings.Compare(a.text, b.text)
	})
	for _, r := range b.rows[:min(most, len(b.rows))] {
		t.Log(r.text)
	}
}

// measured returns how long a link of p is watched: where packets are many, a
// shorter time tells as much.
func measured(p path) Time {
	if p.rate >= 200*mbit {
		return 10 * second
	}
	return 20 * second
}

// use runs one flow alone and returns its share of what the link can carry.
func use(t *testing.T, p path, figures *table) float64 {
	const warm = 3 * second
	n := newNetwork(uint64(p.rate)+uint64(p.rtt)+uint64(1000*(p.loss+p.lossAfter)), p)
	f := n.ours().start(0)
	to := warm + measured(p)
	n.run(to)
	share := f.goodput(warm, to) / (float64(p.rate) * (1 - p.lossAfter))
	waited := n.waited(warm, to, 0.5, 0.95)
	figures.add(share, "%v, loss %g: %.3f of the link, queued %v, p95 %v, dropped %d", p, p.loss+p.lossAfter, share,
		waited[0].Round(ms/10), waited[1].Round(ms/10), n.dropped)
	if f.spins > 0 {
		t.Errorf("NextSend had no answer %d times", f.spins)
	}
	return share
}

// TestFullUse is what this package is for: a flow alone gets its link, whatever
// gets lost by chance.
func TestFullUse(t *testing.T) {
	const want = 0.90
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, rate := range []int64{1, 10, 50, 200} {
			for _, rtt := range []Time{10, 50, 200} {
				for _, loss := range []float64{0, 0.001, 0.01, 0.03, 0.10} {
					p := path{rate: rate * mbit, rtt: rtt * ms, loss: loss}.buffered(1)
					parallel(t, fmt.Sprintf("%v/%g", p, loss), func(t *testing.T) {
						if share := use(t, p, &figures); share < want {
							t.Errorf("used %.3f of the link, want %.2f", share, want)
						}
					})
				}
			}
		}
	})
	figures.print(t, 20)
}

// TestFullUseLossBehind is TestFullUse with packets that get lost behind the
// bottleneck, having used it: what is lost cannot be had back.
func TestFullUseLossBehind(t *testing.T) {
	const want = 0.90
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, rate := range []int64{10, 50} {
			for _, rtt := range []Time{20, 100} {
				for _, loss := range []float64{0.001, 0.01, 0.03, 0.10} {
					p := path{rate: rate * mbit, rtt: rtt * ms, lossAfter: loss}.buffered(1)
					parallel(t, fmt.Sprintf("%v/%g", p, loss), func(t *testing.T) {
						if share := use(t, p, &figures); share < want {
							t.Errorf("used %.3f of the link, want %.2f", share, want)
						}
					})
				}
			}
		}
	})
	figures.print(t, 8)
}

// TestNoise has one flow alone on links that are not as even as a cable.
func TestNoise(t *testing.T) {
	const want = 0.85
	cases := []struct {
		name string
		path path
		late Time
	}{
		{"jitter 5ms", path{jitter: 5 * ms}, 0},
		{"jitter 20ms", path{jitter: 20 * ms}, 0},
		{"reordering", path{reorder: 0.01, reorderBy: 3 * ms}, 0},
		{"much reordering", path{reorder: 0.05, reorderBy: 10 * ms}, 0},
		{"aggregation 10ms", path{clump: 10 * ms}, 0},
		{"aggregation 20ms", path{clump: 20 * ms}, 0},
		{"lost acknowledgements", path{lossACK: 0.1}, 0},
		{"late timers", path{}, 2 * ms},
		{"Wi-Fi", path{jitter: 5 * ms, clump: 10 * ms, loss: 0.01, lossACK: 0.01}, ms},
	}
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, c := range cases {
			for _, rate := range []int64{5, 20, 100} {
				for _, rtt := range []Time{10, 40, 100} {
					p := c.path
					p.rate, p.rtt = rate*mbit, rtt*ms
					p = p.buffered(2)
					for _, seed := range []uint64{7, 8} { // with 8 and most jitter, the first packet comes early
						parallel(t, fmt.Sprintf("%s/%v/%d", c.name, p, seed), func(t *testing.T) {
							n := newNetwork(seed, p)
							f := n.ours()
							f.late = c.late
							f.start(0)
							n.run(15 * second)
							share := f.goodput(3*second, 15*second) / float64(p.rate)
							waited := n.waited(3*second, 15*second, 0.5, 0.95)
							figures.add(share, "%s, %v: %.3f of the link, queued %v, p95 %v, dropped %d, lost %d", c.name, p, share,
								waited[0].Round(ms/10), waited[1].Round(ms/10), n.dropped, f.lostPackets)
							if share < want {
								t.Errorf("used %.3f of the link, want %.2f", share, want)
							}
						})
					}
				}
			}
		}
	})
	figures.print(t, 15)
}
