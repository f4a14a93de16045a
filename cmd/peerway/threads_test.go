package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// A process that could use more threads gets twice as many, and gives them back one
// by one, when it would long have done with less.
func TestGovernor(t *testing.T) {
	const most = 6
	repeat := func(n int, l load) []load {
		all := make([]load, n)
		for i := range all {
			all[i] = l
		}
		return all
	}
	for _, c := range []struct {
		name  string
		loads []load
		want  int
	}{
		{"idle", repeat(50, load{spare: 8}), 1},
		{"one download", repeat(50, load{busy: 0.8, spare: 2, late: 0.01}), 1},
		{"a machine that is busy", repeat(50, load{busy: 1, spare: 0.1, late: 0.01}), 1},
		{"more than a thread", repeat(1, load{busy: 0.95, spare: 3}), 2},
		{"goroutines wait", repeat(1, load{busy: 0.4, late: 0.2}), 2},
		{"much more than a thread", []load{{busy: 1, spare: 5}, {busy: 2, spare: 4}, {busy: 4, spare: 2}, {busy: 6, spare: 1}}, most},
		{"soon after", append(repeat(4, load{late: 0.2}), repeat(calmFor-1, load{})...), most},
		{"later", append(repeat(4, load{late: 0.2}), repeat(2*calmFor, load{})...), most - 2},
		{"much later", append(repeat(4, load{late: 0.2}), repeat(most*calmFor, load{})...), 1},
		{"still used", append(repeat(4, load{late: 0.2}), repeat(most*calmFor, load{busy: 4})...), most},
		{"used now and then", append(repeat(4, load{late: 0.2}), append(repeat(calmFor-1, load{}), append(repeat(1, load{busy: 5}), repeat(calmFor-1, load{})...)...)...), most},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := governor{threads: 1, most: most}
			got := 1
			for _, l := range c.loads {
				got = g.next(l)
			}
			if got != c.want {
				t.Errorf("%d threads, want %d", got, c.want)
			}
		})
	}
}

// While it governs there is one thread at first; when it stops, as many as before.
func TestGovern(t *testing.T) {
	m := newMeter()
	before := runtime.GOMAXPROCS(0)
	if m == nil || before == 1 {
		t.Skip("nothing is governed here")
	}
	t.Setenv("GOMAXPROCS", "")
	stop := govern(t.Context())
	for end := time.Now().Add(10 * time.Second); runtime.GOMAXPROCS(0) == before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Error("the number of threads has not changed")
			break
		}
	}
	stop()
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d threads in the end, want %d", got, before)
	}
	t.Setenv("GOMAXPROCS", "2")
	stop = govern(t.Context())
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d threads, want %d, as the environment says how many", got, before)
	}
	stop()
}

// Goroutines count as late when they have waited for a millisecond, once there are
// enough of them to speak of a share; until then they add up.
func TestLate(t *testing.T) {
	buckets := []float64{0, 0.0005, 0.001, 0.01, 1}
	w := waiting{}
	for i, step := range []struct {
		counts []uint64
		want   float64
	}{
		{[]uint64{1000, 0, 0, 0}, 0},
		{[]uint64{1060, 0, 30, 0}, 0},
		{[]uint64{1060, 0, 30, 0}, 0},
		{[]uint64{1060, 50, 30, 20}, 50. / 160},
		{[]uint64{1160, 50, 30, 20}, 0},
		{[]uint64{1160, 50, 30, 220}, 1},
	} {
		if got := w.since(&metrics.Float64Histogram{Counts: step.counts, Buckets: buckets}); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
