package portmap

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	outside = netip.MustParseAddrPort("203.0.113.7:40000")
	moving  = netip.MustParseAddrPort("198.51.100.9:41000")
	inside  = netip.MustParseAddrPort("100.64.0.9:40000")
	nowhere netip.AddrPort
)

// A fake is a router in memory.
type fake struct {
	kind Protocol

	mu       sync.Mutex
	silent   bool           // never answers
	refuses  bool           // to map
	external netip.AddrPort // of mappings
	life     time.Duration
	open     bool // whether there is a mapping
	leases   int
	checks   int
	releases int
}

func newFake(kind Protocol) *fake {
	return &fake{kind: kind, external: outside, life: askLife}
}

func (f *fake) protocol() Protocol { return f.kind }

// answer returns an error if there is none, after the end of ctx.
func (f *fake) answer(ctx context.Context) error {
	f.mu.Lock()
	silent := f.silent
	f.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *fake) find(ctx context.Context, first time.Duration) (service, netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, first)
	defer cancel()
	return f, f.external.Addr(), f.answer(ctx)
}

func (f *fake) lease(ctx context.Context, w wish) (lease, error) {
	f.change(func() { f.leases++ })
	if err := f.answer(ctx); err != nil {
		return lease{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses {
		return lease{}, refusal{f.kind, 2}
	}
	f.open = true
	return lease{w.port, f.external, f.life}, nil
}

func (f *fake) check(ctx context.Context, l lease) error {
	f.change(func() { f.checks++ })
	if err := f.answer(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open || f.external != l.external {
		return errLost
	}
	return nil
}

func (f *fake) release(ctx context.Context, _ lease) error {
	f.change(func() { f.releases++ })
	if err := f.answer(ctx); err != nil {
		return err
	}
	f.change(func() { f.open = false })
	return nil
}

func (f *fake) change(c func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c()
}

// A scene is a Mapper among fakes, in the time of a bubble.
type scene struct {
	t        *testing.T
	m        *Mapper
	announce func() // as the router does
	cancel   context.CancelFunc
	done     chan error

	mu   sync.Mutex
	told []netip.AddrPort
	gone bool // no router
}

func play(t *testing.T, f func(*scene), fakes ...*fake) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, done: make(chan error)}
		s.m = New(Config{Port: 40000, Changed: func(a netip.AddrPort) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, a)
		}})
		s.m.look = func() (router, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.gone {
				return router{}, errNoGateway
			}
			return router{device: "lan0"}, nil
		}
		s.m.find = func(router, Seed) (finders []finder) {
			for _, f := range fakes {
				finders = append(finders, f.find)
			}
			return finders
		}
		s.m.hear = func(ctx context.Context, _ router, heard func()) {
			s.announce = heard
			<-ctx.Done()
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.cancel = cancel
		go func() { s.done <- s.m.Run(ctx) }()
		synctest.Wait()
		f(s)
		s.end()
	})
}

// end ends the Mapper if it has not ended, and returns how long it took.
func (s *scene) end() time.Duration {
	s.t.Helper()
	if s.done == nil {
		return 0
	}
	begun := time.Now()
	s.cancel()
	if err := <-s.done; !errors.Is(err, context.Canceled) {
		s.t.Errorf("Run() = %v", err)
	}
	s.done = nil
	return time.Since(begun)
}

func (s *scene) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want fails unless exactly these addresses were told since the last time.
func (s *scene) want(addrs ...netip.AddrPort) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, addrs) {
		s.t.Errorf("told %v, want %v", s.told, addrs)
	}
	s.told = nil
}

// wantCalls fails unless the router was asked that often since the last time.
func (s *scene) wantCalls(f *fake, leases, checks, releases int) {
	s.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got, want := [3]int{f.leases, f.checks, f.releases}, [3]int{leases, checks, releases}; got != want {
		s.t.Errorf("%s: leases, checks, releases: %v, want %v", f.kind, got, want)
	}
	f.leases, f.checks, f.releases = 0, 0, 0
}

func TestBestWins(t *testing.T) {
	pcp, natpmp, upnp := newFake(PCP), newFake(NATPMP), newFake(UPnP)
	play(t, func(s *scene) {
		s.want(outside)
		s.wantCalls(pcp, 1, 0, 0)
		s.wantCalls(natpmp, 0, 0, 0)
		s.wantCalls(upnp, 0, 0, 0)
		pcp.change(func() { pcp.refuses = true })
		s.m.Again()
		s.pass(0)
		s.want() // the same address
		s.wantCalls(pcp, 1, 0, 0)
		s.wantCalls(natpmp, 1, 0, 0)
		pcp.change(func() { pcp.silent = true })
		natpmp.change(func() { natpmp.silent = true })
		s.m.Again()
		s.pass(headStart - 1)
		s.wantCalls(upnp, 0, 0, 0)
		s.pass(1)
		s.wantCalls(upnp, 1, 0, 0)
		if took := s.end(); took != 0 {
			t.Errorf("the end took %v", took)
		}
		s.wantCalls(upnp, 0, 0, 1)
	}, pcp, natpmp, upnp)
}

func TestRenewal(t *testing.T) {
	f := newFake(PCP)
	f.life = time.Hour
	play(t, func(s *scene) {
		s.wantCalls(f, 1, 0, 0)
		s.pass(30*time.Minute - 1)
		s.wantCalls(f, 0, 14, 0)
		s.pass(1)
		s.wantCalls(f, 1, 1, 0)
		s.pass(30 * time.Minute)
		s.wantCalls(f, 1, 15, 0)
		s.want(outside)
	}, f)
}

// A router that grants next to nothing is not asked all the time.
func TestShortLife(t *testing.T) {
	f := newFake(PCP)
	f.life = time.Second
	play(t, func(s *scene) {
		s.pass(time.Minute)
		s.wantCalls(f, 1+15, 15, 0)
	}, f)
}

func TestRestartedRouter(t *testing.T) {
	f := newFake(NATPMP)
	play(t, func(s *scene) {
		s.wantCalls(f, 1, 0, 0)
		f.change(func() { f.open, f.external = false, moving })
		s.pass(checkEvery)
		s.wantCalls(f, 1, 1, 0)
		s.want(outside, moving)
		f.change(func() { f.external = inside }) // now behind another NAT
		s.pass(checkEvery)
		s.want(nowhere)
		f.change(func() { f.external = outside })
		s.pass(checkEvery)
		s.want(outside)
	}, f)
}

func TestAnnouncements(t *testing.T) {
	f := newFake(PCP)
	play(t, func(s *scene) {
		s.wantCalls(f, 1, 0, 0)
		f.change(func() { f.open = false })
		s.announce()
		s.pass(0)
		s.wantCalls(f, 1, 0, 0)
		for range 100 {
			s.announce()
			s.pass(announcePause / 50)
		}
		s.wantCalls(f, 2, 0, 0)
	}, f)
}

func TestNobodyAnswers(t *testing.T) {
	f := newFake(UPnP)
	f.silent = true
	play(t, func(s *scene) {
		s.pass(time.Minute)
		f.change(func() { f.silent = false })
		s.pass(searchEvery - time.Minute)
		s.want()
		s.pass(answerIn)
		s.want(outside)
	}, f)
	f = newFake(UPnP)
	f.silent = true
	play(t, func(s *scene) {
		s.pass(time.Minute)
		f.change(func() { f.silent = false })
		s.m.Again()
		s.pass(0)
		s.want(outside)
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
		s.m.Again()
		s.pass(0)
		s.want(nowhere)
	}, f)
}

// What happens to the network need not concern the router.
func TestSilentInAChange(t *testing.T) {
	f := newFake(PCP)
	play(t, func(s *scene) {
		f.change(func() { f.silent = true })
		s.m.Again()
		s.pass(answerIn)
		f.change(func() { f.silent = false })
		s.pass(retryIn)
		s.want(outside)
		s.wantCalls(f, 1, 1, 0)
	}, f)
}

// A router that falls silent is believed until what it granted is over, and found again.
func TestRouterFallsSilent(t *testing.T) {
	f := newFake(PCP)
	play(t, func(s *scene) {
		s.want(outside)
		f.change(func() { f.silent = true })
		s.pass(askLife - time.Minute)
		s.want()
		f.change(func() { f.silent, f.external = false, moving })
		s.pass(time.Minute)
		s.want(moving)
		f.change(func() { f.silent = true })
		s.pass(askLife + time.Minute)
		s.want(nowhere)
	}, f)
}

func TestDoubleNAT(t *testing.T) {
	f := newFake(PCP)
	f.external = inside
	play(t, func(s *scene) {
		s.pass(time.Hour)
		s.want()
	}, f)
	if f.releases != 1 {
		t.Error("the mapping was not deleted")
	}
}

// The end is bounded whatever the router does, and deletes also what is being made.
func TestEnd(t *testing.T) {
	f := newFake(PCP)
	play(t, func(s *scene) {
		f.change(func() { f.silent = true })
		if took := s.end(); took != releaseIn {
			t.Errorf("the end took %v, want %v", took, releaseIn)
		}
		s.wantCalls(f, 1, 0, 1)
	}, f)

	f = newFake(PCP)
	play(t, func(s *scene) {
		f.change(func() { f.silent, f.open = true, false })
		s.pass(checkEvery + answerIn + retryIn/2) // in doubt
		s.wantCalls(f, 2, 1, 0)
		if took := s.end(); took != releaseIn {
			t.Errorf("the end took %v, want %v", took, releaseIn)
		}
	}, f)
}

// What is being asked for when the end comes is deleted.
func TestEndWhileAsking(t *testing.T) {
	f := newFake(PCP)
	asked := make(chan struct{})
	play(t, func(s *scene) {
		s.m.find = func(router, Seed) []finder {
			return []finder{func(context.Context, time.Duration) (service, netip.Addr, error) {
				return halfway{f, asked}, netip.Addr{}, nil
			}}
		}
		s.m.Again()
		<-asked
		if took := s.end(); took != 0 {
			t.Errorf("the end took %v", took)
		}
		s.want()
		s.wantCalls(f, 0, 0, 1)
	})
}

// halfway makes mappings that it never tells of.
type halfway struct {
	*fake
	asked chan struct{}
}

func (h halfway) lease(ctx context.Context, _ wish) (lease, error) {
	close(h.asked)
	<-ctx.Done()
	return lease{}, ctx.Err()
}
