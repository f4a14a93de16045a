package tunnel

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"peerway/signal"
	"peerway/tunnel/pathsock"
	"peerway/tunnel/portmap"
)

// An opening is the port of the socket that the router of the local network leaves open to
// everybody, once there is somebody to tell of it.
type opening struct {
	mapper *portmap.Mapper

	wanted  chan struct{} // closed with the first session
	changed chan struct{} // holds a token when what is open is to be looked at
	want    sync.Once

	mu     sync.Mutex
	router netip.AddrPort // as the router says; invalid: nothing is open
	proven netip.AddrPort // where the signal server has reached the socket; invalid: it has not
}

// mappingSeed is what the router knows a peer by.
func mappingSeed(who signal.Identity) (seed portmap.Seed) {
	key, err := hkdf.Key(sha256.New, who.Seed(), nil, "peerway mapping at a router", len(seed))
	if err != nil { // of a length that is not too long
		panic(err)
	}
	return portmap.Seed(key)
}

// listen opens the socket. Where the router is to let packets in, it is at the same port each time
// if that is free: so the mapping of a process that was killed is used by the next one.
func (m *Manager) listen(seed portmap.Seed) (*pathsock.Socket, error) {
	cfg := pathsock.Config{Listen: m.cfg.Listen, Other: m.deliver, Log: m.log}
	if m.cfg.OpenPort && !cfg.Listen.IsValid() {
		cfg.Listen = netip.AddrPortFrom(netip.IPv6Unspecified(), seed.Port())
		if sock, err := pathsock.Listen(cfg); err == nil {
			return sock, nil
		}
		cfg.Listen = netip.AddrPort{}
	}
	return pathsock.Listen(cfg)
}

// newOpening returns one for a local port. It acquires nothing.
func newOpening(m *Manager, port uint16, seed portmap.Seed) *opening {
	o := &opening{wanted: make(chan struct{}), changed: make(chan struct{}, 1)}
	o.mapper = portmap.New(portmap.Config{Port: port, Seed: seed, Log: m.log, Changed: func(router netip.AddrPort) {
		o.mu.Lock()
		o.router, o.proven = router, netip.AddrPort{}
		o.mu.Unlock()
		o.look()
	}})
	return o
}

// need has the port opened, if it is not.
func (o *opening) need() { o.want.Do(func() { close(o.wanted) }) }

// look has what is open looked at. It never blocks.
func (o *opening) look() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// known returns where everybody can reach the socket, or the zero value.
func (o *opening) known() netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.proven
}

// OpenPort returns the port that the router has opened, and whether a packet has come in by
// it; the zero value if it has opened none.
func (m *Manager) OpenPort() (router netip.AddrPort, reached bool) {
	if m.opening == nil {
		return netip.AddrPort{}, false
	}
	m.opening.mu.Lock()
	defer m.opening.mu.Unlock()
	return m.opening.router, m.opening.proven.IsValid()
}

// keepOpen keeps the port open until ctx is done, and tells all sessions when it is, and
// peers also when it is no more. Routers say much that is not true, as where there is
// another NAT behind them: an address counts only when the signal server has sent to it, and
// that has arrived.
func (m *Manager) keepOpen(ctx context.Context) {
	o := m.opening
	var mapping sync.WaitGroup
	defer mapping.Wait()
	mapping.Go(func() {
		select {
		case <-o.wanted:
			o.mapper.Run(ctx)
		case <-ctx.Done():
		}
	})
	again := time.NewTimer(0)
	defer again.Stop()
	for told := o.known().IsValid(); ; {
		select {
		case <-o.changed:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		router := o.router
		o.mu.Unlock()
		if router.IsValid() && !m.proveOpen(ctx, router) {
			again.Reset(proveAgain)
		}
		open := o.known().IsValid()
		if told && !open {
			m.log.Info("port is not open at the router any more")
			m.tellLimits()
		}
		told = open
	}
}

// proveAgain is how long an open port that was not reached is left alone.
const proveAgain = time.Minute

// proveOpen asks the signal server to call back. It reports whether that has arrived.
func (m *Manager) proveOpen(ctx context.Context, router netip.AddrPort) bool {
	o := m.opening
	for _, server := range m.stunServers() {
		if !server.Addr().Is4() {
			continue
		}
		seen, err := m.puncher.CallBack(ctx, server, router.Port())
		if err != nil {
			m.log.Debug("the open port is not reached from outside", "remote", router, "err", err)
			continue
		}
		o.mu.Lock()
		news := o.router == router && o.proven != seen
		if news {
			o.proven = seen
		}
		o.mu.Unlock()
		if news {
			m.log.Info("port is open at the router", "remote", seen)
			m.routes.Range(func(_, s any) bool {
				select {
				case s.(*session).opened <- seen:
				default: // the next attempt will know
				}
				return true
			})
			m.tellLimits()
		}
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.router == router {
		o.proven = netip.AddrPort{}
	}
	return false
}
