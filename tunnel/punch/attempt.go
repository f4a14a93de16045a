package punch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v3"

	"peerway/signal"
	"peerway/tunnel/network"
)

// errClosed is what an attempt returns that has ended.
var errClosed = fmt.Errorf("punch: attempt: %w", net.ErrClosed)

// An Event is what an attempt reports: [Gathered], [Selected], [Lost] or [Failed].
type Event interface{ event() }

// Gathered holds candidates that the peer is to be told of, at once: they are about what this
// side's NAT does next. None follows a Selected.
type Gathered struct{ Candidates []string }

// Selected says that a check sent to Remote was answered from there by the
// peer: packets pass in both directions. Another Selected may follow when a
// better address was proven.
type Selected struct {
	Remote netip.AddrPort
	RTT    time.Duration
}

// Lost says that nothing was heard on the selected path for 10 s, although it
// was asked. It is the last event.
type Lost struct{}

// Failed says, in words for people, why no path was found. It is the last
// event.
type Failed struct{ Reason string }

func (Gathered) event() {}
func (Selected) event() {}
func (Lost) event()     {}
func (Failed) event()   {}

// An AttemptConfig is what the tunnel knows when an attempt begins.
type AttemptConfig struct {
	// Peer is who the attempt is to reach: what takes many packets is bounded for each.
	Peer signal.PeerID

	// Controlling is the role: true on exactly one side.
	Controlling bool

	// NAT is what is known of this side's.
	NAT network.NAT

	// Mapped are addresses at which the socket can be reached from outside, as
	// far as known: from Mapped, or opened at a router. More can be added.
	Mapped []netip.AddrPort

	// Own makes the attempt from a socket of its own, which is the way to the address that
	// is found for as long as the attempt lives: a box in between may have come to treat
	// the shared one badly. Mapped is not for it. Where there is no other socket to be
	// had, or Config.Adopt is nil, it is made from the shared one.
	Own bool
}

// An Attempt is one run of ICE with one peer. Its methods may be called from
// any goroutine. The caller closes it.
type Attempt struct {
	puncher *Puncher
	peer    signal.PeerID
	port    *port
	hosts   []netip.Addr
	agent   *ice.Agent // set before ready is closed, like start
	start   func(remote Description) error
	events  chan Event
	ready   chan struct{}
	cancel  context.CancelFunc
	work    sync.WaitGroup
	err     error         // of run; read after work
	own     *net.UDPConn  // nil: the shared socket is used
	moved   chan struct{} // holds a token when another address was selected

	news     chan struct{} // holds a token when more is known of the NATs
	gathered chan []string // for the peer; holds all that there can be

	mu        sync.Mutex
	nat       network.NAT // this side's
	mapped    []netip.AddrPort
	connected bool
	remote    Description      // set by Connect
	called    candidate        // the newest with which the peer has begun a round
	replied   candidate        // and with which it has replied
	reflexive []netip.AddrPort // of the peer, as signalled: IPv4 addresses that its NAT gave it
	offered   int              // addresses of the peer that checks can be sent to
	selected  netip.AddrPort

	connectedAt time.Time // when the checks began
}

// Dial begins an attempt: Local describes this side at once, checks begin with
// Connect. ctx bounds the opening, not the life, of the attempt.
func (p *Puncher) Dial(ctx context.Context, config AttemptConfig) (*Attempt, error) {
	hosts, err := p.hosts()
	if err != nil {
		return nil, fmt.Errorf("punch: addresses of this host: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pt := &port{
		puncher: p, ufrag: rand.Text()[:16], key: []byte(rand.Text()), controlling: config.Controlling,
		peer: config.Peer, write: p.config.Write, number: p.config.Port,
		remotes: make(map[netip.AddrPort]*remote),
	}
	own := p.openOwn(pt, &config)
	pt.listen = p.listenAddresses(hosts, config.Mapped, pt.number)
	a := &Attempt{
		puncher: p,
		peer:    config.Peer,
		hosts:   hosts,
		nat:     config.NAT,
		port:    pt,
		events:  make(chan Event, 4),
		ready:   make(chan struct{}),
		cancel:  cancel,
		own:     own,
		moved:   make(chan struct{}, 1),

		news:     make(chan struct{}, 1),
		gathered: make(chan []string, 2*maxRounds),
	}
	for _, m := range config.Mapped {
		a.AddMapped(m)
	}
	failed := make(chan struct{})
	a.work.Go(func() {
		defer close(a.events)
		if a.err = a.run(life); a.err != nil {
			close(failed)
		}
	})
	select {
	case <-a.ready:
		return a, nil
	case <-failed:
		cancel()
		a.work.Wait()
		return nil, fmt.Errorf("punch: %w", a.err)
	case <-ctx.Done():
		cancel()
		a.work.Wait()
		return nil, fmt.Errorf("punch: %w", context.Cause(ctx))
	}
}

// listenAddresses returns the wildcard addresses of the families that this host
// has. If it seems to have none, both are tried.
func (p *Puncher) listenAddresses(hosts []netip.Addr, mapped []netip.AddrPort, number uint16) []net.Addr {
	var has [2]bool
	for _, h := range hosts {
		has[familyOf(h)] = true
	}
	for _, m := range mapped {
		has[familyOf(m.Addr().Unmap())] = true
	}
	var listen []net.Addr
	for family, wildcard := range []net.IP{net.IPv4zero.To4(), net.IPv6unspecified} {
		if has[family] || has == [2]bool{} {
			listen = append(listen, &net.UDPAddr{IP: wildcard, Port: int(number)})
		}
	}
	return listen
}

// run owns the port from the first to the last moment of the attempt.
func (a *Attempt) run(life context.Context) error {
	p := a.puncher
	p.mu.Lock()
	p.attempts[a.port.ufrag] = a.port
	p.mu.Unlock()
	if a.own != nil {
		defer a.own.Close()
		var serving sync.WaitGroup
		defer serving.Wait()
		ours, stop := context.WithCancel(life)
		defer stop()
		serving.Go(func() { a.serveOwn(ours) })
	}
	defer a.port.Close()

	err := a.check(life)
	if err == nil {
		<-life.Done() // it has ended, but Close has not been called
	}
	return err
}

// check owns the agent. It returns after the last event, when life ends, or
// with an error before the attempt is ready.
func (a *Attempt) check(life context.Context) error {
	agent, err := newAgent(a.port)
	if err != nil {
		return err
	}
	defer agent.GracefulClose() // waits for the handlers below
	working, stop := context.WithCancel(life)
	defer stop() // frees them

	states := make(chan ice.ConnectionState, 4)
	pairs := make(chan netip.AddrPort, 4)
	err = errors.Join(
		agent.OnConnectionStateChange(func(s ice.ConnectionState) {
			select {
			case states <- s:
			case <-working.Done():
			}
		}),
		agent.OnSelectedCandidatePairChange(func(_, remote ice.Candidate) {
			select {
			case pairs <- addressOf(remote):
			case <-working.Done():
			}
		}),
		gather(life, agent),
	)
	if err != nil {
		return err
	}
	a.agent = agent
	stopped, done := context.WithCancel(life)
	done()
	a.start = func(remote Description) error { return start(stopped, agent, a.port.controlling, remote) }
	close(a.ready)
	a.work.Go(func() { a.search(working) })
	a.watch(life, states, pairs)
	return nil
}

// watch turns what the agent reports into events until the last one.
func (a *Attempt) watch(life context.Context, states <-chan ice.ConnectionState, pairs <-chan netip.AddrPort) {
	var answeredAt time.Time
	gathered := a.gathered
	ticker := time.NewTicker(confirmWithin / 4)
	defer ticker.Stop()
	for {
		select {
		case <-life.Done():
			return
		case candidates := <-gathered:
			a.emit(life, Gathered{candidates})
		case remote := <-pairs:
			ticker.Stop()
			gathered = nil
			a.setSelected(remote)
			a.emit(life, Selected{Remote: remote, RTT: a.port.rtt(remote)})
		case s := <-states:
			if s == ice.ConnectionStateDisconnected || s == ice.ConnectionStateFailed {
				a.emit(life, a.ending())
				return
			}
		case now := <-ticker.C:
			// The library would repeat a nomination that nobody answers until
			// the attempt ends.
			if answeredAt.IsZero() && a.port.tally().answered > 0 {
				answeredAt = now
			}
			if !answeredAt.IsZero() && now.Sub(answeredAt) >= confirmWithin {
				a.emit(life, a.ending())
				return
			}
		}
	}
}

func (a *Attempt) emit(life context.Context, e Event) {
	select {
	case a.events <- e:
	case <-life.Done():
	}
}

// ending is the event for the end of what was reached until now.
func (a *Attempt) ending() Event {
	if a.Remote().IsValid() {
		return Lost{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return Failed{Reason: reason(a.port.tally(), a.offered, a.mapped)}
}

func (a *Attempt) setSelected(remote netip.AddrPort) {
	a.mu.Lock()
	a.selected = remote
	a.mu.Unlock()
	select {
	case a.moved <- struct{}{}:
	default:
	}
}
