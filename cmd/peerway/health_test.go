package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerway/proxy"
	"peerway/proxy/export"
	"peerway/signal"
)

// A fakeServer is a backend that is there or not.
type fakeServer struct {
	mu    sync.Mutex
	err   error
	takes time.Duration // a look
	looks atomic.Int32
}

func (s *fakeServer) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *fakeServer) now() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Check implements [export.Backend].
func (s *fakeServer) Check(ctx context.Context) error {
	s.looks.Add(1)
	if pause(ctx, s.takes); ctx.Err() != nil {
		return ctx.Err()
	}
	return s.now()
}

// Dial implements [export.Backend].
func (s *fakeServer) Dial(context.Context) (export.Upstream, error) {
	if err := s.now(); err != nil {
		return nil, err
	}
	return fakeUpstream{}, nil
}

// A fakeUpstream ends as it is told to by the key breaks of its context.
type fakeUpstream struct{}

type breaks struct{}

func (fakeUpstream) Splice(ctx context.Context, _ proxy.Conn) error {
	err, _ := ctx.Value(breaks{}).(error)
	return err
}

func (fakeUpstream) Close() error { return nil }

func fakeService(name string, s *fakeServer) service {
	return service{signal.Service{Name: name, Scheme: "http"}, s}
}

// TestHealthTellsAtOnce: who answers is said before the others have; those that do not answer
// are tried until they do, which is said once.
func TestHealthTellsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := newOutput()
		web, cam, frozen := &fakeServer{}, &fakeServer{err: errors.New("the camera wants a password")}, &fakeServer{takes: time.Hour}
		h := newHealth([]service{fakeService("web", web), fakeService("cam", cam), fakeService("frozen", frozen)}, newLog(text, slog.LevelInfo))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { h.Run(ctx) })
		said := func(want string) {
			t.Helper()
			synctest.Wait()
			if strings.Count(text.String(), want) != 1 {
				t.Errorf("the log has not once %s:\n%s", want, text)
			}
		}
		said(`msg="service answers" service=web`)
		said(`msg="service does not answer" service=cam err="the camera wants a password"`)
		time.Sleep(slowAfter)
		said(`msg="waiting for a service" service=frozen`)
		<-h.tried
		said(`msg="service does not answer" service=frozen err="no answer within 5s"`)
		if h.silent() {
			t.Error("web does not count")
		}
		time.Sleep(10 * checkAgain)
		cam.set(nil)
		time.Sleep(2 * checkAgain)
		said(`msg="service answers now" service=cam`)
		said(`service=web`)
		if web.looks.Load() != 1 {
			t.Errorf("what works was looked at %d times", web.looks.Load())
		}
	})
}

// TestHealthHearsOfStreams: a service that dies is noticed by the streams to it, looked at again
// each 30 s, and left alone when it is back. A viewer that breaks off costs a look, not more.
func TestHealthHearsOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := newOutput()
		cam := &fakeServer{}
		h := newHealth([]service{fakeService("cam", cam)}, newLog(text, slog.LevelInfo))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { h.Run(ctx) })
		<-h.tried
		open := func(ctx context.Context) {
			if up, err := h.backends()["cam"].Dial(ctx); err == nil {
				up.Splice(ctx, nil)
				up.Close()
			}
		}
		logged := func(dead, back int) {
			t.Helper()
			synctest.Wait()
			if d, b := strings.Count(text.String(), "does not answer"), strings.Count(text.String(), "answers now"); d != dead || b != back {
				t.Errorf("it was said to be dead %d times and back %d times, want %d and %d:\n%s", d, b, dead, back, text)
			}
		}
		seen := func(answers bool, age int64) {
			t.Helper()
			if r := h.report(time.Now())[0]; r.Answers != answers || *r.Age != age || (r.Why == "") != answers {
				t.Errorf("%+v, want %v as of %d s ago", r, answers, age)
			}
		}

		time.Sleep(time.Hour)
		seen(true, 3600)
		open(t.Context())
		seen(true, 0)
		for range 100 {
			open(context.WithValue(t.Context(), breaks{}, errors.New("the viewer broke off")))
		}
		logged(0, 0)
		if got := cam.looks.Load(); got > 2 {
			t.Errorf("viewers cost %d looks", got-1)
		}

		time.Sleep(time.Hour)
		cam.set(errors.New("connection refused"))
		gone, leave := context.WithCancel(t.Context())
		leave()
		open(gone)
		logged(0, 0)
		for range 100 {
			open(t.Context())
		}
		time.Sleep(checkAfter)
		logged(1, 0)
		before := cam.looks.Load()
		time.Sleep(10*checkAgain + time.Second)
		if got := cam.looks.Load() - before; got != 10 {
			t.Errorf("it was looked at %d times in 300 s", got)
		}
		seen(false, 1)
		cam.set(nil)
		time.Sleep(checkAgain)
		logged(1, 1)
		seen(true, 1)
	})
}

// A busyCamera has one session.
type busyCamera struct {
	mu    sync.Mutex
	taken bool
	looks atomic.Int32
}

func (s *busyCamera) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return errors.New("the camera has no session left")
	}
	s.taken = true
	return nil
}

// Check implements [export.Backend].
func (s *busyCamera) Check(context.Context) error {
	s.looks.Add(1)
	if err := s.take(); err != nil {
		return err
	}
	return s.Close()
}

// Dial implements [export.Backend].
func (s *busyCamera) Dial(context.Context) (export.Upstream, error) {
	if err := s.take(); err != nil {
		return nil, err
	}
	return s, nil
}

// Splice implements [export.Upstream]: it lasts an hour.
func (s *busyCamera) Splice(ctx context.Context, _ proxy.Conn) error {
	pause(ctx, time.Hour)
	return errors.New("the camera was switched off")
}

// Close implements [export.Upstream].
func (s *busyCamera) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = false
	return nil
}

// TestHealthLeavesViewersAlone: nobody looks at a camera while it is watched, and it is not said
// to be dead because a second viewer found no place.
func TestHealthLeavesViewersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := newOutput()
		cam := &busyCamera{}
		h := newHealth([]service{{signal.Service{Name: "cam", Scheme: "rtsp"}, cam}}, newLog(text, slog.LevelInfo))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { h.Run(ctx) })
		<-h.tried
		time.Sleep(time.Hour)
		watch := func() {
			if up, err := h.backends()["cam"].Dial(t.Context()); err == nil {
				up.Splice(t.Context(), nil)
				up.Close()
			}
		}
		running.Go(watch)
		for range 59 {
			time.Sleep(time.Minute)
			watch()
		}
		synctest.Wait()
		if r := h.report(time.Now())[0]; !r.Answers || *r.Age != 0 || r.Streams != 1 || r.state() != "in use" || r.seen() != "now" || cam.looks.Load() != 1 {
			t.Errorf("while it is watched: %+v, %d looks\n%s", r, cam.looks.Load(), text)
		}
		time.Sleep(2 * time.Minute) // the stream ends, and not well
		if r := h.report(time.Now())[0]; !r.Answers || r.Streams != 0 || cam.looks.Load() != 2 {
			t.Errorf("after it was: %+v, %d looks\n%s", r, cam.looks.Load(), text)
		}
	})
}
