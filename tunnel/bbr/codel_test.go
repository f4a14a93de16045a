package bbr

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// A codel decides which packets are dropped as they leave a queue (RFC 8289 section
// 5.5).
type codel struct {
	aboveSince Time // when the wait will have been too long for an interval; 0: it is not
	next       Time // drop
	count      int  // of drops since dropping began
	dropping   bool
}

const (
	codelTarget   = 5 * time.Millisecond
	codelInterval = 100 * time.Millisecond
)

// late reports whether the first packet in the queue has waited too long, as others
// did for an interval.
func (n *network) late() bool {
	q := &n.codel
	if len(n.waiting) == 0 || n.now-n.waiting[0].entered < codelTarget || n.occupied <= packetSize {
		q.aboveSince = 0
		return false
	}
	if q.aboveSince == 0 {
		q.aboveSince = n.now + codelInterval
		return false
	}
	return n.now >= q.aboveSince
}

// manage drops what CoDel drops before the next packet is served.
func (n *network) manage() {
	q, late := &n.codel, n.late()
	after := func(t Time) Time { return t + Time(float64(codelInterval)/math.Sqrt(float64(q.count))) }
	drop := func() {
		n.occupied -= n.waiting[0].size
		n.waiting = n.waiting[1:]
		n.dropped++
		late = n.late()
	}
	switch {
	case q.dropping:
		for late && n.now >= q.next {
			q.count++
			drop()
			q.next = after(q.next)
		}
		q.dropping = late
	case late:
		drop()
		q.dropping = true
		if n.now-q.next < codelInterval && q.count > 2 {
			q.count -= 2
		} else {
			q.count = 1
		}
		q.next = after(n.now)
	}
}

// TestManagedQueue has flows of ours share a queue that is kept short by dropping.
func TestManagedQueue(t *testing.T) {
	var figures table
	t.Run("paths", func(t *testing.T) {
		for _, link := range []path{{rate: 10 * mbit, rtt: 60 * ms}, {rate: 20 * mbit, rtt: 50 * ms}, {rate: 100 * mbit, rtt: 30 * ms}} {
			for _, flows := range []int{1, 2, 4} {
				p := link.buffered(8)
				p.managed = true
				parallel(t, fmt.Sprintf("%v/%d", p, flows), func(t *testing.T) {
					n := newNetwork(67, p)
					all := make([]*flow, flows)
					for i := range all {
						all[i] = n.ours().start(Time(i) * 700 * ms)
					}
					n.run(10 * second)
					sent, dropped := int64(0), n.dropped
					for _, f := range all {
						sent -= f.next
					}
					n.run(40 * second)
					var total, noise float64
					for _, f := range all {
						sent += f.next
						total += f.goodput(10*second, 40*second) / float64(p.rate)
						noise = max(noise, f.bbr.Noise())
					}
					lost := float64(n.dropped-dropped) / float64(sent)
					waited := n.waited(10*second, 40*second, 0.5, 0.95)
					figures.add(-lost, "%v, %d flows: lost %.3f, noise %.3f, together %.3f of the link, queued %v, p95 %v", p, flows,
						lost, noise, total, waited[0].Round(ms/10), waited[1].Round(ms/10))
					// Two flows are well behaved. Four that have a dozen packets each under way
					// take some of what is dropped for noise, as in TestManyFlows.
					want := 0.03
					if flows > 2 {
						want = 0.15
					}
					if lost > want || total < 0.9 {
						t.Errorf("lost %.3f, want %.2f; used %.3f of the link", lost, want, total)
					}
				})
			}
		}
	})
	figures.print(t, 9)
}
