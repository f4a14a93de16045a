package lane_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"peerway/tunnel/lane"
)

func TestManyStreams(t *testing.T) {
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		sum := sha256.New()
		io.Copy(io.MultiWriter(s, sum), s)
		s.Write(sum.Sum(nil))
		s.CloseWrite()
	})
	const streams, size = 200, 100 << 10
	var all sync.WaitGroup
	for i := range streams {
		class := lane.Mixed
		if i%20 == 0 {
			class = lane.Dedicated
		}
		s := w.dial(t, class)
		want := payload(uint64(i), size)
		all.Go(func() {
			s.Write(want)
			s.CloseWrite()
		})
		all.Go(func() {
			got, err := io.ReadAll(s)
			sum := sha256.Sum256(want)
			if err != nil || !bytes.Equal(got, append(want, sum[:]...)) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
	waitLive(t, w.here, 0)
	waitLive(t, w.there, 0)
	if n := len(w.opened()); n > 4+streams/20 {
		t.Errorf("%d lanes were opened", n)
	}
}

// A dedicated lane ends with its stream: both ends have closed it properly.
func TestDedicatedLaneEnds(t *testing.T) {
	w := join(t, echo)
	for i, end := range []func(*lane.Stream){
		func(s *lane.Stream) { s.CloseWrite(); io.Copy(io.Discard, s) },
		func(s *lane.Stream) { s.Close() },
		func(s *lane.Stream) { s.Reset(1) },
	} {
		s := w.dial(t, lane.Dedicated)
		if err := s.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		end(s)
		conn := w.opened()[i]
		for deadline := time.Now().Add(soon); !conn.over(); pause() {
			if time.Now().After(deadline) {
				t.Fatalf("the lane is still open after end %d", i)
			}
		}
	}
}

// over reports whether both directions of c have been ended, and not by a
// reset.
func (c *memConn) over() bool {
	for _, h := range []*half{c.in, c.out} {
		h.mu.Lock()
		over := h.ended && !h.reset && h.data.Len() == 0
		h.mu.Unlock()
		if !over {
			return false
		}
	}
	return true
}

func TestThousandCycles(t *testing.T) {
	changes := make(chan int, 10000)
	w := join(t, echo, func(here, _ *lane.Config) {
		here.Changed = func(live int) { changes <- live }
	})
	for i := range 1000 {
		s := w.dial(t, lane.Mixed)
		fmt.Fprintf(s, "%d", i)
		s.CloseWrite()
		if b, err := io.ReadAll(s); string(b) != fmt.Sprint(i) || err != nil {
			t.Fatalf("cycle %d: %q, %v", i, b, err)
		}
		s.Close()
	}
	waitLive(t, w.there, 0)
	w.stopHere()
	close(changes)
	n, last := 0, -1
	for live := range changes {
		n, last = n+1, live
	}
	if n != 2000 || last != 0 {
		t.Errorf("Changed was called %d times, last with %d", n, last)
	}
}

func TestDialAfterRun(t *testing.T) {
	w := join(t, echo)
	s := w.dial(t, lane.Mixed)
	w.stopHere()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, lane.ErrLost) {
		t.Errorf("Read: %v", err)
	}
	for _, class := range []lane.Class{lane.Mixed, lane.Dedicated} {
		_, err := w.here.Dial(t.Context(), lane.Header{Service: "web", Class: class})
		if !errors.Is(err, lane.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial: %v", err)
		}
	}
	a, b := memPair()
	w.here.Serve(a)
	if _, err := b.Read(make([]byte, 1)); err != errReset {
		t.Errorf("Serve after Run: %v", err)
	}
}

func TestDialBeforeRun(t *testing.T) {
	set := lane.New(lane.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("no time")
	cancel(want)
	if _, err := set.Dial(ctx, lane.Header{Service: "web"}); !errors.Is(err, want) {
		t.Errorf("Dial: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	broken := errors.New("no more streams")
	w := join(t, echo, func(here, _ *lane.Config) {
		here.Open = func(context.Context) (lane.Conn, error) { return nil, broken }
	})
	for _, class := range []lane.Class{lane.Mixed, lane.Dedicated} {
		if _, err := w.here.Dial(t.Context(), lane.Header{Service: "web", Class: class}); !errors.Is(err, broken) {
			t.Errorf("Dial: %v", err)
		}
	}
	for _, h := range []lane.Header{{}, {Service: "x", Version: 2}, {Service: "x", Class: 7}, {Service: string(make([]byte, 300))}} {
		if _, err := w.here.Dial(t.Context(), h); err == nil {
			t.Errorf("Dial with %+v did not fail", h)
		}
	}
}

func TestTooManyStreams(t *testing.T) {
	w := join(t, echo, func(here, there *lane.Config) {
		here.MaxStreams = 20
		there.MaxStreams = 10
	})
	for i := range 20 {
		s, err := w.here.Dial(t.Context(), lane.Header{Service: "web"})
		if err == nil {
			defer s.Close()
			err = s.Answered(t.Context())
		}
		if i < 10 && err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if i >= 10 {
			wantReset(t, "Answered", err, lane.CodeBusy)
		}
	}
	waitLive(t, w.here, 10)
}

// The limit of the dialing side is a limit of its own.
func TestBusy(t *testing.T) {
	w := join(t, echo, func(here, _ *lane.Config) { here.MaxStreams = 3 })
	var last *lane.Stream
	for range 3 {
		last = w.dial(t, lane.Mixed)
	}
	if _, err := w.here.Dial(t.Context(), lane.Header{Service: "web"}); !errors.Is(err, lane.ErrBusy) {
		t.Errorf("Dial: %v", err)
	}
	last.Close()
	w.dial(t, lane.Mixed)
}

// A set that ends does so at once, with readers and writers that wait on
// streams of both directions, and handlers.
func TestRunEndsAtOnce(t *testing.T) {
	w := join(t, echo)
	var blocked sync.WaitGroup
	for range 20 {
		s := w.dial(t, lane.Mixed)
		blocked.Go(func() { s.Write(make([]byte, 64<<20)) })
		s2 := w.dial(t, lane.Dedicated)
		blocked.Go(func() { s2.Read(make([]byte, 1)) })
	}
	pause()
	for _, c := range w.opened() {
		c.stall()
	}
	start := time.Now()
	w.stopHere()
	w.stopThere()
	blocked.Wait()
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestHeaderTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := lane.New(lane.Config{Handle: func(*lane.Stream) { t.Error("handled") }})
		stop := run(set)
		defer stop()
		a, b := memPair()
		set.Serve(b)
		a.Write([]byte{0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}) // SYN
		start := time.Now()
		buf := make([]byte, 12)
		io.ReadFull(a, buf) // ACK
		io.ReadFull(a, buf)
		if got, want := time.Since(start), 10*time.Second; got != want {
			t.Errorf("reset after %v, want %v", got, want)
		}
		if want := []byte{0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0xff, 0x01}; !bytes.Equal(buf, want) {
			t.Errorf("got % x, want % x", buf, want)
		}
	})
}
