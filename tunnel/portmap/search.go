package portmap

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// headStart is how long a worse protocol waits for a better one that has not answered.
const headStart = 250 * time.Millisecond

// A finder looks whether the router speaks a protocol. It must answer first within a
// time; ctx bounds the whole. The address is the external one, if the router told it.
type finder func(ctx context.Context, first time.Duration) (service, netip.Addr, error)

// finders returns those of all protocols, best first.
func (r router) finders(s Seed) []finder {
	return []finder{r.pcpFinder(s.nonce(r.gateway)), r.findNATPMP, r.upnpFinder(s)}
}

func (r router) pcpFinder(n nonce) finder {
	return func(ctx context.Context, first time.Duration) (service, netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, first)
		defer cancel()
		s := &pcpService{router: r, nonce: n}
		_, err := s.announce(ctx)
		return s, netip.Addr{}, err
	}
}

func (r router) findNATPMP(ctx context.Context, first time.Duration) (service, netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, first)
	defer cancel()
	s := &natpmpService{router: r}
	external, _, err := s.address(ctx)
	if no, ok := errors.AsType[refusal](err); ok && no.code != natpmpBadVersion {
		err = nil // it has no address to tell, but speaks
	}
	return s, external, err
}

// A finding is what a finder found.
type finding struct {
	rank     int // of the finder, 0 is best
	service  service
	external netip.Addr
	err      error
}

// find runs finders and sends what each of them found. The channel must have room.
func find(ctx context.Context, finders []finder, first time.Duration, to chan<- finding) {
	var running sync.WaitGroup
	defer running.Wait()
	for rank, f := range finders {
		running.Go(func() {
			s, external, err := f(ctx, first)
			to <- finding{rank, s, external, err}
		})
	}
}

// choose returns the best protocol that answers and grants a lease to ask, or nil. A worse
// one has its turn when all better ones have answered or had their head start.
func choose(ctx context.Context, finders []finder, ask func(context.Context, service) (lease, error)) (service, lease) {
	var searching sync.WaitGroup
	defer searching.Wait()
	limited, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	findings := make(chan finding, len(finders))
	searching.Go(func() { find(limited, finders, answerIn, findings) })
	head := time.NewTimer(headStart)
	defer head.Stop()
	all, over := make(candidates, len(finders)), false
	for all.open() && ctx.Err() == nil {
		if c := all.best(over); c != nil {
			granted, err := ask(ctx, c.service)
			if err == nil {
				return c.service, granted
			}
			c.state = gone
			continue
		}
		select {
		case f := <-findings:
			c := &all[f.rank]
			c.service, c.state = f.service, present
			if f.err != nil {
				c.state = gone
			}
		case <-head.C:
			over = true
		case <-ctx.Done():
		}
	}
	return nil, lease{}
}

// candidates are the protocols, best first.
type candidates []candidate

type candidate struct {
	state   state
	service service
}

type state uint8

const (
	waiting state = iota // for an answer
	present
	gone // no answer, or no mapping
)

// open reports whether any may still be of use.
func (c candidates) open() bool {
	return slices.ContainsFunc(c, func(c candidate) bool { return c.state != gone })
}

// best returns the one whose turn it is, or nil. over says that the head start is over.
func (c candidates) best(over bool) *candidate {
	for i := range c {
		switch {
		case c[i].state == present:
			return &c[i]
		case c[i].state == waiting && !over:
			return nil
		}
	}
	return nil
}
