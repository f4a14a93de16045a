package natlab

import (
	"testing"
	"time"
)

func TestShaper(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	type sent struct {
		at, size int
		draw     float64
		arrives  int // milliseconds; -1 is lost
	}
	for name, test := range map[string]struct {
		link   Link
		frames []sent
	}{
		"delay": {
			Link{Delay: 25 * time.Millisecond},
			[]sent{{0, 1500, 0, 25}, {1, 1500, 0, 26}, {1, 60, 0.99, 26}},
		},
		"loss": {
			Link{Loss: 0.1},
			[]sent{{0, 60, 0.0999, -1}, {0, 60, 0.1, 0}, {0, 60, 0.9, 0}},
		},
		"all lost": {
			Link{Loss: 1},
			[]sent{{0, 60, 0.9999, -1}},
		},
		"rate": { // 1 byte takes 1 ms
			Link{Rate: 8000, Delay: 5 * time.Millisecond},
			[]sent{{0, 100, 0, 105}, {50, 10, 0, 115}, {500, 10, 0, 515}},
		},
		"queue": {
			Link{Rate: 8000, Queue: 100},
			[]sent{{0, 100, 0, 100}, {0, 100, 0, 200}, {0, 100, 0, -1}, {101, 100, 0, 300}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			line := shaper{link: test.link}
			for i, f := range test.frames {
				arrives, ok := line.admit(at(f.at), f.size, f.draw)
				if want := f.arrives >= 0; ok != want {
					t.Fatalf("frame %d passes: %v, want %v", i, ok, want)
				}
				if ok && !arrives.Equal(at(f.arrives)) {
					t.Errorf("frame %d arrives after %v, want %d ms", i, arrives.Sub(start), f.arrives)
				}
			}
		})
	}
}
