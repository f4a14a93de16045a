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
		nonces = append(nonces, p.ask(now, Survey))
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

// What is not answered in time is lost, for good, and an answer that comes late is still
// one.
func TestPingCounts(t *testing.T) {
	var p ping
	var late uint64
	now := time.Second
	for i := range 300 {
		now += 100 * time.Millisecond
		nonce := p.ask(now, Survey)
		switch i % 3 {
		case 0:
			p.answered(nonce, now+20*time.Millisecond)
		case 1:
			late = nonce
		}
		p.ask(now, Doubt) // does not count
		p.settle(now)
	}
	if p.got != 100 || p.lost < 190 || p.lost > 200 {
		t.Errorf("%d answered and %d lost of 300, want 100 and, when they are over, 200", p.got, p.lost)
	}
	now += maxPatience
	p.settle(now)
	if p.lost != 200 {
		t.Errorf("%d lost, want 200", p.lost)
	}
	p.answered(late, now)
	if p.got != 100 || p.lost != 200 || p.answeredAt != now {
		t.Errorf("after a late answer: %d answered, %d lost, the last at %v", p.got, p.lost, p.answeredAt)
	}
}
