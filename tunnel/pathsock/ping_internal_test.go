package pathsock

import (
	"testing"
	"time"
)

// Questions that are asked faster than the path answers are answered all the same.
func TestPingsOverlap(t *testing.T) {
	var p ping
	const every, rtt = 100 * time.Millisecond, 900 * time.Millisecond
	var nonces []uint64
	for i := range 100 {
		now := time.Duration(i+1) * every
		nonces = append(nonces, p.ask(now))
		if back := i - int(rtt/every); back >= 0 {
			p.answered(nonces[back], now)
			if p.answeredAt != now || p.rtt != rtt {
				t.Fatalf("question %d: answered at %v after %v, want %v after %v", back, p.answeredAt, p.rtt, now, rtt)
			}
		}
	}
	last := p.answeredAt
	p.answered(nonces[0], time.Hour)  // again
	p.answered(nonces[20], time.Hour) // answered, and forgotten
	p.answered(0, time.Hour)
	if p.answeredAt != last {
		t.Error("an answer counts twice")
	}
}
