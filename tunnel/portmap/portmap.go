package portmap

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Times of a mapping.
const (
	askLife     = 2 * time.Hour
	checkEvery  = 2 * time.Minute
	retryIn     = 30 * time.Second // after a router that has granted something fell silent
	searchEvery = 10 * time.Minute // where nothing answers
	shortest    = 4 * time.Second  // between renewals (RFC 6887 section 11.2.1)
	answerIn    = 2 * time.Second  // a question, with its repetitions
	releaseIn   = 250 * time.Millisecond
)

// A Config is what a [Mapper] needs.
type Config struct {
	// Port is the local UDP port that packets shall arrive at, on any address: which one
	// the router knows depends on the network.
	Port uint16

	// Seed is what the router knows the mapping by, besides Port. No other Mapper may have
	// the same two. Zero is a new one.
	Seed Seed

	// Changed is told the external address whenever it is another one; the zero value
	// says that there is none. Addresses behind another NAT are none. It must not block,
	// and is called by Run only. That Run deletes the mapping in the end is
	// not told. nil is nobody.
	Changed func(netip.AddrPort)

	// Check is how often the router is asked whether it still has the mapping, which
	// costs one small packet, with UPnP two requests. 0 means 2 minutes. Routers that
	// speak PCP or NAT-PMP also say so by themselves when they have lost it.
	Check time.Duration

	Log *slog.Logger // nil discards
}

// A Mapper keeps a UDP port open at the router.
type Mapper struct {
	config Config
	again  chan struct{}

	// What tests replace.
	look func() (router, error)
	find func(router, Seed) []finder
	hear func(ctx context.Context, r router, heard func())
}

// New returns a Mapper that does nothing yet.
func New(cfg Config) *Mapper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(netip.AddrPort) {}
	}
	if cfg.Check == 0 {
		cfg.Check = checkEvery
	}
	if cfg.Seed == (Seed{}) {
		cfg.Seed = newSeed()
	}
	return &Mapper{config: cfg, again: make(chan struct{}, 1), look: findRouter, find: router.finders, hear: hear}
}

// Again makes Run look for the router anew: call it when the network changed. It never
// blocks.
func (m *Mapper) Again() {
	notify(m.again)
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run keeps the port open until ctx is done, deletes the mapping, for which it takes 250
// ms at most, and returns the cause of ctx. It asks for two hours and renews after half of
// what was granted. If no router maps ports, it looks again after 10 minutes, when the
// router announces itself, or when [Mapper.Again] is called. It may be called once at a
// time.
func (m *Mapper) Run(ctx context.Context) error {
	k := &keeper{
		Mapper: m,
		log:    m.config.Log.With("local", m.config.Port),
		heard:  make(chan struct{}, 1),
		deaf:   func() {},
	}
	defer k.hearing.Wait()
	defer func() { k.deaf() }()
	defer k.end(ctx)
	for why := moved; ctx.Err() == nil; {
		before := k.router
		idle := k.turn(ctx, why)
		if k.router != before {
			k.listen(ctx)
		}
		why = k.await(ctx, idle)
	}
	return context.Cause(ctx)
}

// A reason is why something is to be done.
type reason uint8

const (
	due       reason = iota
	announced        // the router says that it may have lost the mapping
	moved            // the router may be another one
)
