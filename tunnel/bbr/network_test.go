package bbr

import (
	"math/rand/v2"
	"slices"
	"time"
)

// The tests of this package run in a simulated network: a heap of events in
// virtual time, without goroutines or clocks. The same seed gives the same run.

const packetSize = 1444 // a little more than the tunnel sends

// An actor is whom events happen to.
type actor interface {
	handle(what signal, arg int64)
}

type signal uint8

const (
	scripted signal = iota // a step of the test
	served                 // link: the packet in service has left
	arrived                // flow: packet arg has reached the receiver
	answered               // flow: acknowledgement arg has reached the sender
	heard                  // flow: what came in is processed, now it may send
	woken                  // flow: its pacing timer
	alarmed                // flow: its loss detection timer
	delayed                // flow: the receiver's timer of late acknowledgements
)

type event struct {
	at    Time
	order uint64 // of events of one moment
	to    actor
	arg   int64
	what  signal
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}

// A network is one bottleneck link, the flows that share it, and the time.
type network struct {
	path
	now   Time
	rand  *rand.Rand
	order uint64
	heap  []event

	waiting  []parcel // the first is in service
	occupied int64    // bytes in waiting
	codel    codel
	tokens   float64 // bytes, of the policer
	filled   Time    // when tokens was right
	waits    []wait
	dropped  int // packets that found no room
}

// A path is what a network is like. A test may change it while the network runs.
type path struct {
	rate  int64 // bits per second
	rtt   Time  // of propagation, there and back
	queue int64 // bytes of waiting packets that fit, with the one in service

	loss      float64 // share of the packets that get lost before the queue
	lossAfter float64 // and behind it
	lossACK   float64 // and of the acknowledgements

	jitter    Time    // up to this much more delay in each direction, order kept
	reorder   float64 // share of the packets held back by up to reorderBy
	reorderBy Time
	clump     Time  // acknowledgements are let through only at multiples of it
	bucket    int64 // bytes; if set, a policer of rate with such a bucket, and no queue
	managed   bool  // the queue is kept short by CoDel
}

// bdp returns the bandwidth-delay product, bytes.
func (p path) bdp() int64 { return int64(float64(p.rate) / 8 * p.rtt.Seconds()) }

// buffered returns p with a queue of bdps bandwidth-delay products.
func (p path) buffered(bdps float64) path {
	p.queue = max(int64(bdps*float64(p.bdp())), 32*packetSize)
	return p
}

type parcel struct {
	flow    *flow
	number  int64
	size    int64
	entered Time
}

// A wait is how long a packet was in the queue, without its own transmission.
type wait struct{ at, took Time }

func newNetwork(seed uint64, p path) *network {
	return &network{path: p, rand: rand.New(rand.NewPCG(seed, 1)), tokens: float64(p.bucket)}
}

func (n *network) post(at Time, to actor, what signal, arg int64) {
	n.order++
	n.heap = append(n.heap, event{at: max(at, n.now), order: n.order, to: to, what: what, arg: arg})
	i := len(n.heap) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !n.heap[i].before(n.heap[parent]) {
			return
		}
		n.heap[i], n.heap[parent] = n.heap[parent], n.heap[i]
		i = parent
	}
}

func (n *network) pop() event {
	first := n.heap[0]
	last := len(n.heap) - 1
	moving := n.heap[last]
	n.heap[last] = event{}
	n.heap = n.heap[:last]
	i := 0
	for {
		child := 4*i + 1
		if child >= last {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, last); c++ {
			if n.heap[c].before(n.heap[least]) {
				least = c
			}
		}
		if !n.heap[least].before(moving) {
			break
		}
		n.heap[i] = n.heap[least]
		i = least
	}
	if last > 0 {
		n.heap[i] = moving
	}
	return first
}

// run lets the network live until the given moment.
func (n *network) run(until Time) {
	for len(n.heap) > 0 && n.heap[0].at <= until {
		e := n.pop()
		n.now = e.at
		e.to.handle(e.what, e.arg)
	}
	n.now = until
}

// runUntil lets the network live until done says so, at the latest until the
// given moment, and reports whether it was done.
func (n *network) runUntil(until Time, done func() bool) bool {
	for len(n.heap) > 0 && n.heap[0].at <= until {
		e := n.pop()
		n.now = e.at
		e.to.handle(e.what, e.arg)
		if done() {
			return true
		}
	}
	n.now = until
	return false
}

type script func()

func (s script) handle(signal, int64) { s() }

// at has do done at the given moment.
func (n *network) at(when Time, do func()) { n.post(when, script(do), scripted, 0) }

// chance reports true with probability p.
func (n *network) chance(p float64) bool { return p > 0 && n.rand.Float64() < p }

func (n *network) upTo(d Time) Time {
	if d <= 0 {
		return 0
	}
	return Time(n.rand.Int64N(int64(d)))
}

// carry takes a packet of f to its receiver, or loses it.
func (n *network) carry(f *flow, number, size int64) {
	switch {
	case n.chance(n.loss):
	case n.bucket > 0:
		n.tokens = min(n.tokens+float64(n.rate)/8*(n.now-n.filled).Seconds(), float64(n.bucket))
		n.filled = n.now
		if n.tokens < float64(size) {
			n.dropped++
			return
		}
		n.tokens -= float64(size)
		n.deliver(f, number)
	case n.occupied+size > n.queue:
		n.dropped++
	default:
		n.waiting = append(n.waiting, parcel{f, number, size, n.now})
		n.occupied += size
		if len(n.waiting) == 1 {
			n.serve()
		}
	}
}

func (n *network) serve() {
	n.post(n.now+n.transmission(n.waiting[0].size), n, served, 0)
}

func (n *network) transmission(size int64) Time {
	return Time(float64(size*8) / float64(n.rate) * float64(time.Second))
}

// shortest returns how long the shortest queue is that can be asked for: the
// window never goes below four packets (MinPipeCwnd), and the receiver
// acknowledges two at a time, which counts on top (extra_acked).
func (n *network) shortest() Time { return 6 * n.transmission(packetSize) }

// handle ends the service of a packet.
func (n *network) handle(signal, int64) {
	p := n.waiting[0]
	n.waiting = n.waiting[1:]
	n.occupied -= p.size
	n.waits = append(n.waits, wait{n.now, n.now - p.entered - n.transmission(p.size)})
	if !n.chance(n.lossAfter) {
		n.deliver(p.flow, p.number)
	}
	if n.managed {
		n.manage()
	}
	if len(n.waiting) > 0 {
		n.serve()
	}
}

func (n *network) deliver(f *flow, number int64) {
	at := n.now + n.rtt/2 + n.upTo(n.jitter)
	if n.chance(n.reorder) {
		at += n.upTo(n.reorderBy)
	} else {
		at = max(at, f.lastArrival)
		f.lastArrival = at
	}
	n.post(at, f, arrived, number)
}

// answer takes acknowledgement number of f back to its sender, or loses it.
func (n *network) answer(f *flow, number int64) {
	if n.chance(n.lossACK) {
		return
	}
	at := max(n.now+n.rtt/2+n.upTo(n.jitter), f.lastAnswer)
	if n.clump > 0 {
		at = (at + n.clump - 1) / n.clump * n.clump
	}
	f.lastAnswer = at
	n.post(at, f, answered, number)
}

// waited returns the given shares' percentiles of the time that packets waited
// in the queue while they were sent between from and to.
func (n *network) waited(from, to Time, shares ...float64) []Time {
	var took []Time
	for _, w := range n.waits {
		if w.at >= from && w.at < to {
			took = append(took, w.took)
		}
	}
	slices.Sort(took)
	out := make([]Time, len(shares))
	for i, share := range shares {
		if len(took) > 0 {
			out[i] = took[min(int(share*float64(len(took))), len(took)-1)]
		}
	}
	return out
}
