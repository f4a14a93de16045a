package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// A governor chooses how many threads run Go code at once. The runtime takes one for
// each core, and wakes one for nearly each packet, to see whether there is something
// for it to do. What a tunnel does is done sooner by the thread that is awake: with
// one, live video and downloads cost a quarter less processor time, and on a machine
// that is busy with other things bulk is faster too (BENCHMARKS.md).
type governor struct {
	threads, most int
	calm          int // intervals in a row that would have done with fewer
}

// A load is what a governor knows of an interval.
type load struct {
	busy  float64 // cores that the process has used
	spare float64 // cores that nobody has used; 0 if that was not measured
	late  float64 // share of the goroutines that had to wait for a thread for a millisecond
}

const (
	lateMost  = 0.1
	busyMost  = 0.9 // of the threads
	busyLeast = 0.6 // of one thread less
	spareCore = 0.5
	calmFor   = 10 // intervals

	governEvery = 200 * time.Millisecond
	governIdle  = time.Second
)

// full reports whether the threads are as good as used up.
func (g *governor) full(busy float64) bool { return busy > busyMost*float64(g.threads) }

// next returns how many threads there should be after an interval with that load.
func (g *governor) next(l load) int {
	starved := l.late > lateMost || g.full(l.busy) && l.spare > spareCore
	calm := g.threads > 1 && l.late < lateMost/2 && l.busy < busyLeast*float64(g.threads-1)
	switch {
	case starved:
		g.threads = min(2*g.threads, g.most)
	case calm && g.calm+1 >= calmFor:
		g.threads--
	case calm:
		g.calm++
		return g.threads
	}
	g.calm = 0
	return g.threads
}

// govern sets the number of threads until ctx is done or stop is called, which
// leaves it to the runtime again. It does nothing where the load cannot be measured,
// or if the environment variable GOMAXPROCS says how many.
func govern(ctx context.Context) (stop func()) {
	g := governor{threads: 1, most: runtime.GOMAXPROCS(0)}
	m := newMeter()
	if m == nil || g.most == 1 || os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		defer runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(g.threads)
		timer := time.NewTimer(governEvery)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			l, ok := m.load(g.full)
			before := g.threads
			if ok && g.next(l) != before {
				if g.threads > before { // the machine, or the share of it, may have changed
					runtime.SetDefaultGOMAXPROCS()
					g.most = runtime.GOMAXPROCS(0)
					g.threads = min(g.threads, g.most)
				}
				runtime.GOMAXPROCS(g.threads)
			}
			if ok && l.busy < 0.1 {
				timer.Reset(governIdle)
			} else {
				timer.Reset(governEvery)
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// A waiting measures how long goroutines wait for a thread.
type waiting struct {
	sample [1]metrics.Sample
	before []uint64 // counts of the buckets
}

// late returns which share has waited for a millisecond.
func (w *waiting) late() float64 {
	w.sample[0].Name = "/sched/latencies:seconds"
	metrics.Read(w.sample[:])
	if w.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	return w.since(w.sample[0].Value.Float64Histogram())
}

// since returns the share of those that h counts and did not at the last answer; 0
// as long as those are few: the runtime counts one in eight.
func (w *waiting) since(h *metrics.Float64Histogram) float64 {
	const enough = 100
	if len(w.before) != len(h.Counts) {
		w.before = make([]uint64, len(h.Counts))
	}
	var late, all uint64
	for i, count := range h.Counts {
		all += count - w.before[i]
		if h.Buckets[i] >= time.Millisecond.Seconds() {
			late += count - w.before[i]
		}
	}
	if all < enough {
		return 0
	}
	copy(w.before, h.Counts)
	return float64(late) / float64(all)
}
