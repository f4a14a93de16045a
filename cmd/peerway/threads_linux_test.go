package main

import (
	"testing"
	"time"
)

func TestParseIdle(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  100 2 300 4000 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n": 40500 * time.Millisecond,
		"cpu 1 2 3 4 5\n":   90 * time.Millisecond,
		"cpu 1 2 3 4\n":     0,
		"cpu 1 2 3 x 5 6\n": 0,
		"intr 1 2 3 4 5 6":  0,
		"":                  0,
	} {
		if got, err := parseIdle([]byte(text)); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// What other processes do is measured in the interval after one that was full.
func TestMeter(t *testing.T) {
	m := newMeter()
	if m == nil {
		t.Fatal("the load cannot be measured")
	}
	full := func(float64) bool { return true }
	deadline := time.Now().Add(10 * time.Second)
	for spent := time.Duration(0); spent < 50*time.Millisecond; { // of processor time
		if time.Now().After(deadline) {
			t.Fatal("no processor time was used")
		}
		now, _ := processTime()
		spent = now - m.busy
	}
	first, ok := m.load(full)
	if !ok || first.busy <= 0 || first.spare != 0 || m.idle == 0 {
		t.Errorf("%+v, %v: want it busy, and nothing spare yet", first, ok)
	}
	m.at, m.idle = m.at.Add(-time.Second), m.idle-time.Second
	if second, ok := m.load(full); !ok || second.spare < 0.4 {
		t.Errorf("%+v, %v: want that a core was spare", second, ok)
	}
	if _, ok := m.load(func(float64) bool { return false }); !ok || m.idle != 0 {
		t.Errorf("the idle time was read in vain")
	}
}
