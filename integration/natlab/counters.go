package natlab

import (
	"math/bits"
	"time"
)

// Counters say what one direction of a wire has done. Frames are those of
// [Link]; their numbers grow from the beginning of the wire. What is said to
// be recent is about the time since the counters were last asked for.
type Counters struct {
	Frames int64 // that arrived
	Bytes  int64 // in them
	Lost   int64 // frames that vanished by Link.Loss
	Full   int64 // frames that found no room in the queue
	// Failed counts frames that the wire has lost by itself, because this machine
	// was too slow or too much was on the way. Unless it is 0, what was measured
	// over the wire says little.
	Failed int64

	Queued     int // bytes that wait for their turn now
	MostQueued int // recent maximum of Queued
	OnTheWay   int // frames that have entered and not arrived, those in the queue too

	Wait Delays // recent: how long frames waited in the queue before the line began to send them
	Late Delays // recent: how much later than due frames were delivered, a fault of the wire
}

// Delays sum up many durations.
type Delays struct {
	Count     int64
	Mean, Max time.Duration
	Half, P99 time.Duration // half, and 99 % of them, are at most this long, to a quarter
}

// count is the running form of Counters.
type count struct {
	Counters
	wait, late histogram
}

// A histogram counts durations by their magnitude, four steps to the octave.
type histogram struct {
	sum, max time.Duration
	count    int64
	steps    [256]int64
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.sum += d
	h.max = max(h.max, d)
	h.count++
	h.steps[step(d)]++
}

// step returns the index of a duration: the place of its highest bit and the
// two bits after it.
func step(d time.Duration) int {
	high := max(bits.Len64(uint64(d)), 3) - 3
	return high<<2 + int(d>>high) // the leading 3 bits: below 4 only for the first step
}

// most returns the longest duration of a step.
func most(step int) time.Duration {
	if step < 8 {
		return time.Duration(step)
	}
	high := step>>2 - 1
	return time.Duration(step-high<<2+1)<<high - 1
}

// take returns the sum of all and begins anew.
func (h *histogram) take() Delays {
	d := Delays{Count: h.count, Max: h.max, Half: h.share(0.5), P99: h.share(0.99)}
	if h.count > 0 {
		d.Mean = h.sum / time.Duration(h.count)
	}
	*h = histogram{}
	return d
}

// share returns what that share of the durations does not exceed.
func (h *histogram) share(share float64) time.Duration {
	var seen int64
	for i, n := range h.steps {
		seen += n
		if seen > 0 && float64(seen) >= share*float64(h.count) {
			return min(most(i), h.max)
		}
	}
	return h.max
}
