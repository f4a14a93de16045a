package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"peerway/signal"
	"peerway/tunnel/lan"
)

// This file is how two peers are introduced without the signal server.

// ErrNotNear: the peer was looked for in the local networks too. It comes with why the
// signal server could not introduce the two.
var ErrNotNear = errors.New("nor is the peer in the local network")

// headStart is how long the signal server has before a peer is looked for in the local
// networks: a connection to it can be dead for a minute before anybody knows.
const headStart = 500 * time.Millisecond

// post brings a message to the peer: through the signal server, and if that cannot, or
// takes its time, through the local network.
func (c *climber) post(msg message) error {
	if c.s.m.lan == nil {
		return c.postServer(c.ctx, msg)
	}
	var posting sync.WaitGroup
	defer posting.Wait()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	server, near := make(chan error, 1), make(chan error, 1)
	posting.Go(func() { server <- c.postServer(ctx, msg) })

	wait := headStart
	if c.s.near.Load() != nil {
		wait = 0
	}
	start := time.NewTimer(wait)
	defer start.Stop()
	var serverErr, nearErr error
	for serverErr == nil || nearErr == nil {
		select {
		case serverErr = <-server:
			if serverErr == nil || errors.Is(serverErr, signal.ErrNotAllowed) {
				return serverErr
			}
			if start.Stop() {
				start.Reset(0)
			}
		case <-start.C:
			posting.Go(func() { near <- c.postNear(ctx, msg) })
		case nearErr = <-near:
			if nearErr == nil {
				return nil
			}
			c.s.absent.Store(true)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("%w: %w (%w)", serverErr, ErrNotNear, nearErr)
}

func (c *climber) postServer(ctx context.Context, msg message) error {
	plain, err := msg.encode()
	if err != nil {
		return err
	}
	sealed, err := c.s.m.cfg.Identity.Seal(c.s.peer, plain)
	if err != nil {
		return err
	}
	return c.s.m.cfg.Signal.Send(ctx, c.s.peer, sealed)
}

// postNear looks for the peer, unless it is known where it is.
func (c *climber) postNear(ctx context.Context, msg message) error {
	plain, err := msg.fit(lan.MaxMessage)
	if err != nil {
		return err
	}
	var known netip.AddrPort
	if at := c.s.near.Load(); at != nil {
		known = *at
	}
	at, err := c.s.m.lan.Send(ctx, c.s.peer, plain, known)
	if err != nil {
		return err
	}
	c.s.log.Debug("peer is in the local network", "remote", at)
	c.s.meet(at)
	return nil
}

// explain says more of an introduction that was in vain: that a quota is used up, where the
// handshake may end before the tunnel would for that; or that the peer was looked for
// in the local networks as well, where nobody has said so yet: the signal server has not
// refused to introduce the two, but has not done it either.
func (s *session) explain(err error) error {
	told := s.spent.Load()
	switch {
	case errors.Is(err, ErrNoPath) && told != nil && time.Now().Before(told.until):
		return &QuotaError{told.until}
	case errors.Is(err, ErrNoPath) && s.absent.Load() && !errors.Is(err, ErrNotNear):
		return fmt.Errorf("%w; %w", err, ErrNotNear)
	}
	return err
}

// meet records where the peer is in the local network, if at is valid.
func (s *session) meet(at netip.AddrPort) {
	if at.IsValid() {
		s.near.Store(&at)
		s.absent.Store(false)
	}
}

// A flight is what QUIC has sent last while there was no path but the relay, which may have
// lost it: without a signal server there is none. QUIC would repeat it after 200 ms, 600 ms
// and 1.4 s, however soon there is a path.
type flight struct {
	mu      sync.Mutex
	packets [][]byte
	landed  bool
}

// maxFlight is how many packets are kept.
const maxFlight = 4

func (f *flight) keep(packet []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.landed {
		return
	}
	if len(f.packets) == maxFlight {
		f.packets = f.packets[1:]
	}
	f.packets = append(f.packets, bytes.Clone(packet))
}

// land ends it: the peer has answered.
func (f *flight) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets, f.landed = nil, true
}

func (f *flight) now() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.packets[:len(f.packets):len(f.packets)]
}

// The flight is sent again when there is a direct path, and some more times, for the peer
// may be about to find out that there is: after firstFlight, and then after twice as long
// each time, up to lastFlight.
const (
	firstFlight = 10 * time.Millisecond
	lastFlight  = 160 * time.Millisecond
)

// fly sends the flight on the direct path, unless the peer has answered it.
func (c *climber) fly() {
	c.again = nil
	to, packets := c.s.whereNow().Direct, c.s.flight.now()
	if c.s.role != dialing || !to.IsValid() || len(packets) == 0 {
		return
	}
	for _, packet := range packets {
		c.s.m.sock.WriteReal(packet, to) // an error is a lost packet
	}
	if c.pause = max(2*c.pause, firstFlight); c.pause <= lastFlight {
		c.again = time.After(c.pause)
	}
}
