package lane_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/integration/leak"
	"peerway/tunnel/lane"
)

func TestMain(m *testing.M) { leak.Main(m) }

// soon is more than anything here may take when nothing stands in the way.
const soon = 10 * time.Second

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

func TestEcho(t *testing.T) {
	for _, class := range []lane.Class{lane.Mixed, lane.Dedicated} {
		t.Run(class.String(), func(t *testing.T) {
			headers := make(chan lane.Header, 1)
			w := join(t, func(s *lane.Stream) {
				headers <- s.Header()
				echo(s)
			})
			s := w.dial(t, class)
			want := payload(1, 3<<20)
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() {
				s.Write(want)
				s.CloseWrite()
			})
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
			}
			if h, want := <-headers, (lane.Header{Version: 1, Service: "web", Class: class}); h != want {
				t.Errorf("header %+v, want %+v", h, want)
			}
			waitLive(t, w.here, 0)
			waitLive(t, w.there, 0)
		})
	}
}

func TestServerEndsFirst(t *testing.T) {
	got := make(chan []byte, 1)
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		s.Write([]byte("bye"))
		s.CloseWrite()
		b, _ := io.ReadAll(s)
		got <- b
	})
	s := w.dial(t, lane.Mixed)
	if b, err := io.ReadAll(s); string(b) != "bye" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	// The other direction is open as long as we want.
	if _, err := s.Write([]byte("still here")); err != nil {
		t.Errorf("Write after the peer's end: %v", err)
	}
	s.CloseWrite()
	if b := <-got; string(b) != "still here" {
		t.Errorf("the server read %q", b)
	}
	waitLive(t, w.here, 0)
}

func TestBothEndAtOnce(t *testing.T) {
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		s.CloseWrite()
		io.Copy(io.Discard, s)
	})
	for range 200 {
		s := w.dial(t, lane.Mixed)
		s.CloseWrite()
		if n, err := io.Copy(io.Discard, s); n != 0 || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	}
	waitLive(t, w.here, 0)
	waitLive(t, w.there, 0)
}

func TestCloseBeforeAnswer(t *testing.T) {
	result := make(chan error, 1)
	release := make(chan struct{})
	w := join(t, func(s *lane.Stream) {
		<-release
		b, _ := io.ReadAll(s)
		if string(b) != "request" {
			result <- fmt.Errorf("read %q", b)
			return
		}
		err := s.Answer(0, "")
		for err == nil { // the news that nobody reads comes right behind the end
			_, err = s.Write([]byte("unread"))
		}
		result <- err
	})
	s := w.dial(t, lane.Mixed)
	s.Write([]byte("request"))
	s.Close()
	waitLive(t, w.here, 0)
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	close(release)
	// What was written has arrived; nobody reads the answer.
	err := <-result
	wantReset(t, "Answer", err, lane.CodeAbandoned)
	waitLive(t, w.there, 0)
}

func TestRefused(t *testing.T) {
	w := join(t, func(s *lane.Stream) { s.Answer(6, "not for you") })
	s := w.dial(t, lane.Mixed)
	want := &lane.RefusedError{Code: 6, Text: "not for you"}
	if err := s.Answered(t.Context()); !isRefusal(err, want) {
		t.Errorf("Answered: %v", err)
	}
	if _, err := s.Read(make([]byte, 1)); !isRefusal(err, want) {
		t.Errorf("Read: %v", err)
	}
	if _, err := s.Write(make([]byte, 1)); !isRefusal(err, want) {
		t.Errorf("Write: %v", err)
	}
}

func isRefusal(err error, want *lane.RefusedError) bool {
	got, ok := errors.AsType[*lane.RefusedError](err)
	return ok && *got == *want
}

// A refusal is what a writer learns that was in the middle of its data.
func TestRefusedWhileWriting(t *testing.T) {
	w := join(t, func(s *lane.Stream) {
		io.ReadFull(s, make([]byte, 100))
		s.Answer(5, "connection refused")
	})
	for _, reading := range []bool{false, true} {
		s := w.dial(t, lane.Mixed)
		var others sync.WaitGroup
		if reading {
			others.Go(func() {
				_, err := s.Read(make([]byte, 1))
				if !isRefusal(err, &lane.RefusedError{Code: 5, Text: "connection refused"}) {
					t.Errorf("Read: %v", err)
				}
			})
		}
		n, err := s.Write(make([]byte, 32<<20))
		if !isRefusal(err, &lane.RefusedError{Code: 5, Text: "connection refused"}) {
			t.Errorf("Write: %d, %v", n, err)
		}
		others.Wait()
	}
}

func TestAnsweredHonoursContext(t *testing.T) {
	release := make(chan struct{})
	w := join(t, func(s *lane.Stream) {
		<-release
		echo(s)
	})
	s := w.dial(t, lane.Mixed)
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("enough")
	cancel(want)
	if err := s.Answered(ctx); err != want {
		t.Errorf("Answered: %v, want %v", err, want)
	}
	close(release)
	if err := s.Answered(t.Context()); err != nil {
		t.Errorf("Answered: %v", err)
	}
}

func TestNoAnswer(t *testing.T) {
	w := join(t, func(*lane.Stream) {})
	if _, err := w.dial(t, lane.Mixed).Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read: %v", err)
	}
}

func TestAnswerRules(t *testing.T) {
	errs := make(chan error, 3)
	w := join(t, func(s *lane.Stream) {
		_, err := s.Write([]byte("x"))
		errs <- err
		errs <- s.Answer(0, "")
		errs <- s.Answer(0, "")
	})
	s := w.dial(t, lane.Mixed)
	if err := s.Answered(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-errs; err == nil {
		t.Error("Write before Answer did not fail")
	}
	if err := <-errs; err != nil {
		t.Errorf("Answer: %v", err)
	}
	if err := <-errs; err == nil {
		t.Error("a second Answer did not fail")
	}
	if err := s.Answer(0, ""); err == nil {
		t.Error("Answer of a dialed stream did not fail")
	}
}

// A reset ends Read and Write at the other end, in both directions, however
// busy they are.
func TestReset(t *testing.T) {
	for _, by := range []string{"dialer", "acceptor"} {
		t.Run(by, func(t *testing.T) {
			accepted := make(chan *lane.Stream, 1)
			done := make(chan struct{})
			w := join(t, func(s *lane.Stream) {
				s.Answer(0, "")
				accepted <- s
				<-done
			})
			defer close(done)
			s := w.dial(t, lane.Mixed)
			if err := s.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			breaker, victim := s, <-accepted
			if by == "acceptor" {
				breaker, victim = victim, s
			}
			var failing sync.WaitGroup
			failing.Go(func() {
				_, err := io.Copy(io.Discard, victim)
				wantReset(t, "Read", err, 77)
			})
			failing.Go(func() {
				_, err := victim.Write(make([]byte, 64<<20)) // more than any window
				wantReset(t, "Write", err, 77)
			})
			breaker.Write(make([]byte, 1<<20))
			breaker.Reset(77)
			failing.Wait()
			if _, err := breaker.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Reset: %v", err)
			}
			waitLive(t, w.here, 0)
			waitLive(t, w.there, 0)
		})
	}
}

// A reset right after the dial must not leave a stream behind at the peer.
func TestResetAtOnce(t *testing.T) {
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		io.Copy(io.Discard, s)
	})
	for range 500 {
		w.dial(t, lane.Mixed).Reset(1)
	}
	waitLive(t, w.here, 0)
	waitLive(t, w.there, 0)
}

// Close ends the writes of the peer, but what was written before arrives.
func TestCloseStopsPeer(t *testing.T) {
	got, failed := make(chan string, 1), make(chan error, 1)
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		_, err := s.Write(make([]byte, 64<<20))
		failed <- err
		b, err := io.ReadAll(s)
		got <- fmt.Sprintf("%s %v", b, err)
	})
	s := w.dial(t, lane.Mixed)
	s.Write([]byte("last words"))
	io.ReadFull(s, make([]byte, 1000))
	s.Close()
	wantReset(t, "Write", <-failed, lane.CodeAbandoned)
	if got := <-got; got != "last words <nil>" {
		t.Errorf("the peer read %s", got)
	}
}

func TestPeerDies(t *testing.T) {
	started := make(chan struct{}, 1)
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		s.Write([]byte("some"))
		started <- struct{}{}
		io.Copy(io.Discard, s)
	})
	for _, class := range []lane.Class{lane.Mixed, lane.Dedicated} {
		s := w.dial(t, class)
		<-started
		if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		var failing sync.WaitGroup
		failing.Go(func() {
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, lane.ErrLost) {
				t.Errorf("Read: %v, want %v", err, lane.ErrLost)
			}
		})
		failing.Go(func() {
			for {
				if _, err := s.Write(make([]byte, 10000)); err != nil {
					if !errors.Is(err, lane.ErrLost) {
						t.Errorf("Write: %v, want %v", err, lane.ErrLost)
					}
					return
				}
			}
		})
		if class == lane.Dedicated {
			w.stopThere()
		} else {
			for _, c := range w.opened() {
				c.Reset()
			}
		}
		failing.Wait()
		waitLive(t, w.here, 0)
	}
}

func TestDeadlines(t *testing.T) {
	release := make(chan struct{})
	w := join(t, func(s *lane.Stream) {
		<-release
		echo(s)
	})
	defer close(release)
	s := w.dial(t, lane.Mixed)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
	})
	waiting.Go(func() {
		if _, err := s.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	})
	pause()
	s.SetDeadline(time.Unix(1, 0))
	waiting.Wait()
}

// The same where the byte stream itself takes nothing any more.
func TestDeadlineOnStalledLane(t *testing.T) {
	w := join(t, echo)
	s := w.dial(t, lane.Mixed)
	if err := s.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.opened() {
		c.stall()
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := s.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	})
	pause()
	s.SetWriteDeadline(time.Unix(1, 0))
	waiting.Wait()
	s.Close()
}

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
	synctest.Test(t, func(t *testing.T) {
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
