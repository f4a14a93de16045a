package lane_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"peerway/tunnel/lane"
)

// Whatever the peer sends on a lane, of whichever side, nothing hangs, panics
// or stays behind.
func FuzzLane(f *testing.F) {
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	f.Add(true, join(frame(window, syn, 1, 0), dataFrame(1, goodHeader(f)), dataFrame(1, []byte("x")), frame(window, fin, 1, 0)))
	f.Add(true, join(frame(window, syn, 1, 0), dataFrame(1, goodHeader(f)), frame(window, fin, 1, 0), frame(window, stop, 1, 0)))
	f.Add(true, join(frame(window, syn, 1, 0), dataFrame(1, []byte{0xff, 0xff}), frame(window, syn, 3, 1000), frame(window, rst, 3, 9)))
	f.Add(false, join(frame(window, ack, 1, 0), dataFrame(1, []byte{0, 3, 0xa1, 0, 0}), dataFrame(1, []byte("hello")), frame(window, fin, 1, 0)))
	f.Add(false, join(frame(window, ack, 1, 0), frame(window, ack, 1, 0), frame(window, rst, 1, 4)))
	f.Add(false, join(dataFrame(1, []byte{0, 3, 0xa1, 0, 5}), frame(window, fin|rst, 1, 4), frame(goAway, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, accepts bool, wire []byte) {
		a, b := memPair()
		set := lane.New(lane.Config{
			Open:       func(context.Context) (lane.Conn, error) { return b, nil },
			Handle:     echo,
			MaxStreams: 8,
		})
		stop := run(set)
		var working sync.WaitGroup
		if accepts {
			set.Serve(b)
		} else {
			s, err := set.Dial(t.Context(), lane.Header{Service: "web"})
			if err != nil {
				t.Fatal(err)
			}
			working.Go(func() { io.Copy(io.Discard, s) })
			working.Go(func() {
				s.Write(make([]byte, 300<<10))
				s.CloseWrite()
			})
		}
		working.Go(func() { io.Copy(io.Discard, a) })
		a.Write(wire)
		a.CloseWrite()
		start := time.Now()
		stop()
		a.Reset()
		working.Wait()
		if took := time.Since(start); took > soon/2 {
			t.Errorf("the end took %v", took)
		}
		if live := set.Live(); live != 0 {
			t.Errorf("%d streams are live after the end", live)
		}
	})
}
