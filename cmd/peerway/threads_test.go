package main

import (
	"runtime"
	"testing"
	"time"
)

// A process that could use more threads gets them at once, and gives them back one
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

// While it governs there is one thread; when it stops, as many as before.
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

func TestMeter(t *testing.T) {
	m := newMeter()
	if m == nil {
		t.Skip("the load is not measured here")
	}
	for x := 1; ; x++ { // until the processor time shows
		if x%1e6 == 0 {
			if l := m.load(); l.busy > 0.05 {
				if l.busy > float64(2*runtime.NumCPU()) || l.spare < 0 || l.late < 0 || l.late > 1 {
					t.Errorf("load %+v", l)
				}
				return
			}
		}
	}
}
