package lane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"peerway/tunnel/lane"
)

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
