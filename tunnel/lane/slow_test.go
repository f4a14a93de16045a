package lane_test

import (
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
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

// One download fills a path that is long and fast, with a window that is not much
// larger than it takes: what it has, others cannot have.
func TestOneStreamFillsThePath(t *testing.T) {
	for _, path := range []struct {
		mbit  float64
		rtt   time.Duration
		least float64 // share of the rate
		most  int64   // window
	}{
		{10, 20 * time.Millisecond, 0.99, 1 << 20},
		{20, 50 * time.Millisecond, 0.99, 1 << 20},
		{200, 50 * time.Millisecond, 0.98, 16 << 20},
		{200, 200 * time.Millisecond, 0.98, 32 << 20},
		{1000, 100 * time.Millisecond, 0.98, 32 << 20},
	} {
		bubble(t, func(t *testing.T) {
			rate := path.mbit * 1e6 / 8
			budget := lane.NewBudget(0)
			w, end := narrowWorld(rate, path.rtt/2, serveNarrow, func(here *lane.Config) { here.Budget = budget })
			defer end()
			s, err := w.here.Dial(t.Context(), lane.Header{Service: "bulk"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var reading sync.WaitGroup
			defer reading.Wait()
			defer s.Reset(1)
			var got atomic.Int64
			reading.Go(func() { io.Copy(counter{&got}, s) })
			const grown = 3 * time.Second
			time.Sleep(grown)
			before := got.Load()
			time.Sleep(grown)
			share := float64(got.Load()-before) / grown.Seconds() / rate
			window := 256<<10 + budget.Extra()
			t.Logf("%v Mbit/s, %v: %.1f %% of it, in the first 3 s %.1f %%, window %d KiB", path.mbit, path.rtt, 100*share,
				100*float64(before)/grown.Seconds()/rate, window>>10)
			if window > path.most {
				t.Errorf("%v Mbit/s, %v: the window is %d KiB, want at most %d", path.mbit, path.rtt, window>>10, path.most>>10)
			}
			if share < path.least {
				t.Errorf("%v Mbit/s, %v: one stream gets %.1f %%", path.mbit, path.rtt, 100*share)
			}
		})
	}
}

// A reader that becomes slow pins little, though its window has grown while it was
// fast; and nothing is pinned once it has read all.
func TestSlowReaderPinsLittle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		budget := lane.NewBudget(0)
		w, end := narrowWorld(125e6, 50*time.Millisecond, func(s *lane.Stream) {
			s.Answer(0, "")
			pour(s, 256)
			s.CloseWrite()
		}, func(here *lane.Config) { here.Budget = budget })
		defer end()
		s, err := w.here.Dial(t.Context(), lane.Header{Service: "bulk"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		buf := make([]byte, 64<<10)
		read := func(bytes int, pause time.Duration) {
			for range bytes / len(buf) {
				if _, err := io.ReadFull(s, buf); err != nil {
					t.Fatal(err)
				}
				time.Sleep(pause)
			}
		}
		read(192<<20, 0)
		fast := budget.Used()
		read(8<<20, 10*time.Millisecond) // 50 Mbit/s
		afterBurst := budget.Used()
		read(24<<20, 10*time.Millisecond)
		slow := budget.Used()
		t.Logf("unread of a fast reader: %d KiB; of one that became slow: %d KiB, later %d KiB", fast>>10, afterBurst>>10, slow>>10)
		if slow > 5<<20 {
			t.Errorf("a slow reader pins %d KiB, want at most 5 MiB", slow>>10)
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			t.Fatal(err)
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are used after all was read", used)
		}
	})
}
