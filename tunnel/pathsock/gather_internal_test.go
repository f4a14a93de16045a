package pathsock

import (
	"testing"
	"time"
)

// TestGather reads what comes at a rate, for a second, and counts the reads.
func TestGather(t *testing.T) {
	const patience = int64(time.Millisecond)
	for _, c := range []struct {
		name     string
		every    time.Duration // a packet
		size     int
		patience int64
		most     int // reads
		least    int
	}{
		{"200 Mbit/s", 58 * time.Microsecond, 1444, patience, 3100, 900},
		{"200 Mbit/s on a short path", 58 * time.Microsecond, 1444, 0, 17300, 17000},
		{"50 Mbit/s", 231 * time.Microsecond, 1444, patience, 2200, 900},
		{"20 Mbit/s", 578 * time.Microsecond, 1444, patience, 1740, 1720},
		{"small packets", 58 * time.Microsecond, 100, patience, 17300, 17000},
		{"one every 10 ms", 10 * time.Millisecond, 1444, patience, 101, 99},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g gatherer
			now, arrived, read, reads := int64(0), 0, 0, 0
			for now < int64(time.Second) {
				if d := g.pause(now); d > time.Duration(patience) {
					t.Fatalf("a pause of %v", d)
				} else {
					now += int64(d)
				}
				now = max(now, int64(read+1)*int64(c.every)) // block for one
				arrived = int(now / int64(c.every))
				n := min(arrived-read, 8)
				read += n
				reads++
				g.count(now, n, n*c.size, c.patience)
			}
			t.Logf("%d packets in %d reads", read, reads)
			if reads > c.most || reads < c.least {
				t.Errorf("%d reads, want %d to %d", reads, c.least, c.most)
			}
		})
	}
}
