package lane_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/tunnel/lane"
)

func TestMain(m *testing.M) { leak.Main(m) }

// soon is more than anything here may take when nothing stands in the way.
const soon = time.Minute

// A world is two sets that are joined in memory.
type world struct {
	here, there         *lane.Set
	stopHere, stopThere func()

	mu    sync.Mutex
	conns []*memConn // ends of those who opened
}

// join makes a world where the set there handles streams with handle.
func join(t testing.TB, handle func(*lane.Stream), configure ...func(here, there *lane.Config)) *world {
	w := &world{}
	hereConfig := lane.Config{
		Open:   func(context.Context) (lane.Conn, error) { return w.open(w.there), nil },
		Handle: func(s *lane.Stream) { s.Answer(9, "nothing is exposed here") },
	}
	thereConfig := lane.Config{
		Open:   func(context.Context) (lane.Conn, error) { return w.open(w.here), nil },
		Handle: handle,
	}
	for _, f := range configure {
		f(&hereConfig, &thereConfig)
	}
	w.here, w.there = lane.New(hereConfig), lane.New(thereConfig)
	w.stopHere, w.stopThere = run(w.here), run(w.there)
	t.Cleanup(func() {
		start := time.Now()
		w.stopHere()
		w.stopThere()
		if took := time.Since(start); took > time.Second {
			t.Errorf("the sets took %v to end", took)
		}
		for i, set := range []*lane.Set{w.here, w.there} {
			if live := set.Live(); live != 0 {
				t.Errorf("set %d has %d live streams after its end", i, live)
			}
		}
	})
	return w
}

// run runs set and returns what stops it and waits.
func run(set *lane.Set) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { set.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

func (w *world) open(other *lane.Set) lane.Conn {
	a, b := memPair()
	w.mu.Lock()
	w.conns = append(w.conns, a)
	w.mu.Unlock()
	other.Serve(b)
	return a
}

func (w *world) opened() []*memConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*memConn(nil), w.conns...)
}

// dial opens a stream from here that the test closes at its end.
func (w *world) dial(t testing.TB, class lane.Class) *lane.Stream {
	t.Helper()
	s, err := w.here.Dial(t.Context(), lane.Header{Service: "web", Class: class})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	s.SetDeadline(time.Now().Add(soon))
	return s
}

func echo(s *lane.Stream) {
	s.Answer(0, "")
	io.Copy(s, s)
	s.CloseWrite()
}

func waitLive(t testing.TB, set *lane.Set, want int) {
	t.Helper()
	for end := time.Now().Add(soon); set.Live() != want; {
		if time.Now().After(end) {
			t.Fatalf("%d live streams, want %d", set.Live(), want)
		}
		pause()
	}
}

// pause lets others run for a moment.
func pause() {
	timer := time.NewTimer(time.Millisecond)
	<-timer.C
}

func wantReset(t testing.TB, what string, err error, code uint16) {
	t.Helper()
	if reset, ok := errors.AsType[*lane.ResetError](err); !ok || reset.Code != code {
		t.Errorf("%s: %v, want a reset with code %#x", what, err, code)
	}
}

func payload(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(b)
	return b
}
