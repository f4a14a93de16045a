package pathsock

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken atomic.Uint64
		p := &Peer{}
		b := &p.backlog
		b.moved = make(chan struct{}, 1)
		give := func(n int) {
			for range n {
				if b.full() {
					t.Fatal("full too early")
				}
				b.give(100)
			}
		}
		give(1000) // nobody follows
		p.Follow(taken.Load)
		if !b.full() {
			t.Fatal("1000 packets that nobody has looked at are not too many")
		}

		began := time.Now()
		b.wait()
		if d := time.Since(began); d != backlogWait {
			t.Errorf("waited %v for a connection that looks at nothing, want %v", d, backlogWait)
		}
		for range 1000 { // for now, nobody waits for it
			if b.full() {
				t.Fatal("a connection that got nowhere is waited for again at once")
			}
			b.give(100)
		}

		// It was only slow: now it has looked at all, and the count is right again.
		taken.Store(2000 * 100)
		time.Sleep(2 * minBacklogPause)
		give(backlogMost)
		if !b.full() {
			t.Fatal("not full")
		}

		// It goes on as soon as QUIC has most of it behind itself, not before.
		done := make(chan struct{})
		began = time.Now()
		go func() {
			defer close(done)
			b.wait()
		}()
		const step = backlogWait / (2 * backlogMost)
		for range backlogMost - backlogLess + 1 {
			time.Sleep(step)
			select {
			case <-done:
				t.Fatal("went on too early")
			default:
			}
			taken.Add(100)
			p.Advance()
		}
		time.Sleep(step)
		<-done
		if d := time.Since(began); d > (backlogMost-backlogLess+2)*step {
			t.Errorf("went on after %v", d)
		}
		give(backlogMost - backlogLess)
		p.Advance() // nobody waits
	})
}
