package lane_test

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/tunnel/lane"
)

// far joins two byte streams so that what is written on one is read from the
// other after a delay. It returns when both directions have ended.
func far(a, b *memConn, delay time.Duration) {
	var both sync.WaitGroup
	both.Go(func() { carry(b, a, delay) })
	both.Go(func() { carry(a, b, delay) })
	both.Wait()
}

func carry(to, from *memConn, delay time.Duration) {
	type packet struct {
		b  []byte
		at time.Time
	}
	way := make(chan packet, 1<<16)
	var arriving sync.WaitGroup
	defer arriving.Wait()
	defer close(way)
	arriving.Go(func() {
		for p := range way {
			<-time.NewTimer(time.Until(p.at)).C
			if _, err := to.Write(p.b); err != nil {
				from.Reset()
			}
		}
		to.CloseWrite()
	})
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if err != nil {
			if err != io.EOF {
				to.Reset()
			}
			return
		}
		way <- packet{b[:n], time.Now().Add(delay)}
	}
}

// bubble is [synctest.Test] for what uses yamux. That keeps timers in a pool of
// its own for all sessions of the process, and a timer may not go in or out of
// a bubble: so the pool is emptied, which takes two collections.
func bubble(t *testing.T, f func(t *testing.T)) {
	empty := func() {
		runtime.GC()
		runtime.GC()
	}
	empty()
	defer empty()
	synctest.Test(t, f)
}

// Far away, the window is what limits a stream: it must grow to its full size,
// and one of 256 KiB would need 25 seconds for this.
func TestWindowGrows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rtt, amount = 100 * time.Millisecond, 64 << 20
		var ways sync.WaitGroup
		defer ways.Wait()
		there := lane.New(lane.Config{Handle: func(s *lane.Stream) {
			s.Answer(0, "")
			s.Write(make([]byte, amount))
			s.CloseWrite()
		}})
		here := lane.New(lane.Config{Open: func(context.Context) (lane.Conn, error) {
			a, x := memPair()
			y, b := memPair()
			ways.Go(func() { far(x, y, rtt/2) })
			there.Serve(b)
			return a, nil
		}})
		defer run(there)()
		defer run(here)()
		start := time.Now()
		s, err := here.Dial(t.Context(), lane.Header{Service: "bulk"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != rtt {
			t.Errorf("the answer took %v, want one round trip: %v", got, rtt)
		}
		if n, err := io.Copy(io.Discard, s); n != amount || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		took := time.Since(start)
		t.Logf("64 MiB took %v: %.0f MiB/s", took, 64/took.Seconds())
		if limit := 3 * time.Second; took > limit {
			t.Errorf("64 MiB took %v, want at most %v", took, limit)
		}
	})
}
