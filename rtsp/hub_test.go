package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v4"

	"peerway/proxy"
)

// A fakeCamera opens fake pulls and counts them.
type fakeCamera struct {
	far   bool // the peer is not reached
	delay time.Duration
	err   error

	mu     sync.Mutex
	opened int
	pulls  []*fakePull
}

// A fakePull sends as long as it is not silent.
type fakePull struct {
	silent atomic.Int64 // Unix nanoseconds since when; 0 never
	away   atomic.Int64 // the same, of the peer, and so of the camera
	end    chan struct{}
	cuts   atomic.Int32
	ended  atomic.Int64 // Unix nanoseconds; 0 while open
}

func (p *fakePull) open() bool          { return p.ended.Load() == 0 }
func (p *fakePull) closedAt() time.Time { return time.Unix(0, p.ended.Load()) }

func (p *fakePull) stream() *gortsplib.ServerStream { return nil }
func (p *fakePull) gone() <-chan struct{}           { return p.end }
func (p *fakePull) err() error                      { return errors.New("cut") }
func (p *fakePull) cut()                            { p.cuts.Add(1) }
func (p *fakePull) close()                          { p.ended.Store(time.Now().UnixNano()) }
func (p *fakePull) peerHeard() time.Time            { return sinceOf(&p.away) }
func (p *fakePull) heard() time.Time {
	camera, peer := sinceOf(&p.silent), p.peerHeard()
	if peer.Before(camera) {
		return peer
	}
	return camera
}

func sinceOf(since *atomic.Int64) time.Time {
	if at := since.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

func (c *fakeCamera) open(ctx context.Context, _ place, reached func()) (pull, error) {
	c.mu.Lock()
	c.opened++
	c.mu.Unlock()
	if !c.far {
		reached()
	}
	select {
	case <-time.After(c.delay):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.err != nil {
		return nil, c.err
	}
	p := &fakePull{end: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls = append(c.pulls, p)
	return p, nil
}

// inHub runs a test with a hub for the camera. Afterwards all of it must be
// gone.
func inHub(t *testing.T, c *fakeCamera, test func(*testing.T, *hub)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(c.open, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.run(ctx) })
		test(t, h)
		cancel()
		running.Wait()
		for _, p := range c.pulls {
			if p.open() {
				t.Error("a pull is not closed")
			}
		}
		if len(h.sources) != 0 {
			t.Errorf("%d sources are left", len(h.sources))
		}
	})
}

func at(path string) place {
	return place{target: proxy.Target{Peer: "home", Service: "cam"}, path: path}
}

func TestHubLingersThirtySeconds(t *testing.T) {
	c := &fakeCamera{delay: time.Second}
	inHub(t, c, func(t *testing.T, h *hub) {
		if _, err := h.watch(at("")); err != nil {
			t.Fatal(err)
		}
		s, ok := h.join(at(""))
		if !ok {
			t.Fatal("nothing to join")
		}
		time.Sleep(time.Hour)
		h.leave(s)
		left := time.Now()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if !c.pulls[0].open() {
			t.Error("closed while lingering")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := c.pulls[0].closedAt().Sub(left); got != lingerFor {
			t.Errorf("closed %v after the last player, want %v", got, lingerFor)
		}
	})
}

func TestHubSecondPlayerJoinsInEveryPhase(t *testing.T) {
	for name, wait := range map[string]time.Duration{
		"starting":               time.Second,
		"live":                   3 * time.Second,
		"lingering":              10 * time.Second,
		"end of lingering":       37*time.Second - 1,
		"just after it has gone": 37*time.Second + 1,
	} {
		t.Run(name, func(t *testing.T) {
			c := &fakeCamera{delay: 2 * time.Second}
			inHub(t, c, func(t *testing.T, h *hub) {
				var first sync.WaitGroup
				first.Go(func() { // watches from second 2 to 7
					if _, err := h.watch(at("")); err != nil {
						t.Error(err)
					}
					s, _ := h.join(at(""))
					time.Sleep(5 * time.Second)
					h.leave(s)
				})
				time.Sleep(wait)
				if _, err := h.watch(at("")); err != nil {
					t.Fatal(err)
				}
				s, ok := h.join(at(""))
				if !ok {
					t.Fatal("nothing to join")
				}
				first.Wait()
				time.Sleep(time.Minute)
				synctest.Wait()
				want := 1
				if wait > 37*time.Second {
					want = 2
				}
				if c.opened != want || !c.pulls[want-1].open() {
					t.Errorf("the camera was opened %d times, want %d; the last pull is open: %v", c.opened, want, c.pulls[want-1].open())
				}
				h.leave(s)
			})
		})
	}
}

func TestHubWaitsFourSecondsAndTheRetryFindsTheStream(t *testing.T) {
	for want, far := range map[error]bool{errSlow: false, errFar: true} {
		waitsFourSeconds(t, &fakeCamera{delay: 10 * time.Second, far: far}, want)
	}
}

func waitsFourSeconds(t *testing.T, c *fakeCamera, want error) {
	inHub(t, c, func(t *testing.T, h *hub) {
		start := time.Now()
		if _, err := h.watch(at("")); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if got := time.Since(start); got != describeWithin {
			t.Errorf("waited %v, want %v", got, describeWithin)
		}
		time.Sleep(4 * time.Second)
		if _, err := h.watch(at("")); err != nil {
			t.Errorf("the retry: %v", err)
		}
		if c.opened != 1 {
			t.Errorf("the camera was opened %d times, want 1", c.opened)
		}
	})
}

func TestHubTellsWhyAndTriesAfresh(t *testing.T) {
	down := errors.New("down")
	c := &fakeCamera{err: down}
	inHub(t, c, func(t *testing.T, h *hub) {
		for range 3 {
			if _, err := h.watch(at("")); !errors.Is(err, down) {
				t.Errorf("got %v, want %v", err, down)
			}
		}
		if _, ok := h.join(at("")); ok || c.opened != 3 {
			t.Errorf("joined %v, opened %d times", ok, c.opened)
		}
	})
}

func TestHubEndsADeadCamera(t *testing.T) {
	for name, end := range map[string]func(*fakePull){
		"cut":    func(p *fakePull) { close(p.end) },
		"silent": func(p *fakePull) { p.silent.Store(time.Now().UnixNano()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := &fakeCamera{}
			inHub(t, c, func(t *testing.T, h *hub) {
				if _, err := h.watch(at("")); err != nil {
					t.Fatal(err)
				}
				s, _ := h.join(at(""))
				synctest.Wait()
				end(c.pulls[0])
				time.Sleep(stallAfter + time.Second)
				synctest.Wait()
				if c.pulls[0].open() || c.pulls[0].cuts.Load() != map[string]int32{"silent": 1}[name] {
					t.Errorf("the pull is open: %v, was cut %d times", c.pulls[0].open(), c.pulls[0].cuts.Load())
				}
				if _, err := h.watch(at("")); err != nil || c.opened != 2 {
					t.Errorf("the next player: %v, opened %d times", err, c.opened)
				}
				h.leave(s) // of the one that is gone
			})
		})
	}
}

// TestHubBearsAnAbsence: of a camera whose peer is not heard nothing is known, and its
// viewers stay. One that is silent when the peer is back is as dead as any.
func TestHubBearsAnAbsence(t *testing.T) {
	c := &fakeCamera{}
	inHub(t, c, func(t *testing.T, h *hub) {
		if _, err := h.watch(at("")); err != nil {
			t.Fatal(err)
		}
		s, _ := h.join(at(""))
		defer h.leave(s)
		p := c.pulls[0]
		for range 3 {
			time.Sleep(5 * time.Second)
			p.away.Store(time.Now().UnixNano())
			time.Sleep(9500 * time.Millisecond)
			if _, err := h.watch(at("")); !errors.Is(err, errAway) {
				t.Errorf("meanwhile: %v, want %v", err, errAway)
			}
			p.silent.Store(p.away.Swap(0)) // what the camera has to say comes later
			time.Sleep(2 * time.Second)
			p.silent.Store(0)
			time.Sleep(time.Second)
			if _, err := h.watch(at("")); err != nil || !p.open() || c.opened != 1 {
				t.Fatalf("after the absence: %v, opened %d times", err, c.opened)
			}
		}
		p.silent.Store(time.Now().UnixNano())
		time.Sleep(stallAfter + time.Second)
		synctest.Wait()
		if p.open() {
			t.Error("a camera that is silent itself is still open")
		}
	})
}

func TestHubKeepsPlacesApart(t *testing.T) {
	c := &fakeCamera{}
	inHub(t, c, func(t *testing.T, h *hub) {
		for _, path := range []string{"", "/a", "/b", "/a"} {
			if _, err := h.watch(at(path)); err != nil {
				t.Fatal(err)
			}
		}
		if c.opened != 3 {
			t.Errorf("opened %d, want 3", c.opened)
		}
	})
}

func TestHubLimitsSources(t *testing.T) {
	c := &fakeCamera{}
	inHub(t, c, func(t *testing.T, h *hub) {
		for i := range maxSources {
			if _, err := h.watch(at(string(rune('a' + i)))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.watch(at("/more")); !errors.Is(err, errBusy) {
			t.Errorf("got %v, want %v", err, errBusy)
		}
	})
}

func TestHubClosingAnswersThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCamera{delay: time.Hour}
		h := newHub(c.open, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.run(ctx) })
		for range 3 {
			running.Go(func() {
				if _, err := h.watch(at("")); err == nil {
					t.Error("no error")
				}
			})
		}
		synctest.Wait()
		cancel()
		running.Wait()
		if _, err := h.watch(at("")); !errors.Is(err, errClosing) || len(h.sources) != 0 {
			t.Errorf("afterwards: %v, %d sources", err, len(h.sources))
		}
	})
}
