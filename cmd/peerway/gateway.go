package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"peerway/httpx"
	"peerway/proxy"
	"peerway/rtsp"
	"peerway/signal"
)

// settleEvery is how often a peer that left the signal server is looked at while
// its tunnel is still up.
const settleEvery = 2 * time.Second

// maxTold is how many services are told of in the life of a process: more there
// are only if the signal server makes them up.
const maxTold = 10000

// A gateway makes the services of the peers reachable on local addresses, and
// tells where.
type gateway struct {
	book   *book // borrowed
	told   func(service, peer, url string)
	tunnel func(peer string) bool // reports whether one is up
	log    *slog.Logger

	routes   proxy.Routes
	listener *proxy.Listener

	mu     sync.Mutex
	known  map[string]bool // URLs that were told
	fading map[string]bool // peers that left the server while their tunnel is up
	wake   chan struct{}   // something was added to fading

	instead string // of an address that is in use: what to do
}

// newGateway returns a gateway that listens at addresses. It acquires nothing.
func newGateway(at listen, names *book, reach proxy.Dialer, tunnel func(peer string) bool, told func(service, peer, url string), log *slog.Logger) *gateway {
	g := &gateway{
		book: names, told: told, tunnel: tunnel, log: log,
		known: make(map[string]bool), fading: make(map[string]bool), wake: make(chan struct{}, 1),
		instead: at.instead(),
	}
	for _, name := range names.names() { // known, if not yet reachable
		g.routes.SetPeer(name, false, entries(names.services(name)))
	}
	camera := func(t proxy.Target) string { return g.url(t.Peer, signal.Service{Name: t.Service, Scheme: "rtsp"}) }
	web := &httpx.Server{Dialer: reach, Routes: &g.routes, CameraURL: camera, Log: log}
	video := &rtsp.Server{Dialer: reach, Routes: &g.routes, Log: log}
	addrs := []string{at.http, at.rtsp}
	if at.http == at.rtsp {
		addrs = addrs[:1]
	}
	g.listener = proxy.NewListener(proxy.ListenerConfig{Addrs: addrs, HTTP: web.Serve, RTSP: video.Serve, Log: log})
	return g
}

// Run serves until ctx is done or an address cannot be opened.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned.
func (g *gateway) Run(ctx context.Context) error {
	var settling sync.WaitGroup
	defer settling.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	settling.Go(func() { g.settle(ctx) })
	return explainListen(g.listener.Run(ctx), g.instead)
}

// explainListen tells a person why an address cannot be listened on, and what
// else to do. Other errors it returns as they are.
func explainListen(err error, instead string) error {
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case !ok || op.Op != "listen":
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%v is in use by another program: end that, or %s", op.Addr, instead)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%v is no address of this machine: %s", op.Addr, instead)
	}
	return err
}

// ready is closed when the gateway accepts viewers.
func (g *gateway) ready() <-chan struct{} { return g.listener.Ready() }

// presence takes what the server says of the peer of that name. It does not
// block for long.
func (g *gateway) presence(name string, p signal.Presence) {
	online := p.Online
	g.mu.Lock()
	delete(g.fading, name)
	if !online && g.tunnel(name) {
		// It is only the server that it has left: what the tunnel carries goes
		// on, and so may what is still to come.
		online, g.fading[name] = true, true
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	g.routes.SetPeer(name, online, entries(p.Services))
	g.mu.Unlock()
	if p.Online {
		g.tell(name, p.Services)
	}
}

// entries returns services as routes want them.
func entries(services []signal.Service) []proxy.Entry {
	list := make([]proxy.Entry, len(services))
	for i, s := range services {
		list[i] = proxy.Entry{Name: s.Name, Scheme: s.Scheme}
	}
	return list
}

// tellRemembered tells where the services are that the peers exposed in an earlier
// life.
func (g *gateway) tellRemembered() {
	for _, name := range g.book.names() {
		g.tell(name, g.book.services(name))
	}
}

// forget takes away a peer that has another name now.
func (g *gateway) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.fading, name)
	g.routes.RemovePeer(name)
}

// tell tells where each service is that was not told of yet.
func (g *gateway) tell(peer string, services []signal.Service) {
	select {
	case <-g.ready():
	default:
		return // before that no address is known, and nobody is connected
	}
	addrs := g.listener.Addrs()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range services {
		url := localURL(addrs, peer, s)
		if url == "" || g.known[url] || len(g.known) >= maxTold {
			continue
		}
		g.known[url] = true
		if g.told != nil {
			g.told(s.Name, peer, url)
		}
	}
}

// url returns where a viewer finds the service s of peer, or "" if that is not known yet.
func (g *gateway) url(peer string, s signal.Service) string {
	select {
	case <-g.ready():
		return localURL(g.listener.Addrs(), peer, s)
	default:
		return ""
	}
}

// localURL returns where a viewer finds the service s of peer, given the
// addresses for HTTP and RTSP, or "" if the gateway does not speak its protocol.
func localURL(addrs []netip.AddrPort, peer string, s signal.Service) string {
	switch s.Scheme {
	case "http", "https":
		return fmt.Sprintf("http://%s.%s.localhost:%d/", s.Name, peer, addrs[0].Port())
	case "rtsp":
		at := addrs[len(addrs)-1]
		if at.Addr().IsUnspecified() {
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
		}
		return fmt.Sprintf("rtsp://%s/%s/%s", at, peer, s.Name)
	}
	return ""
}

// settle marks the peers of fading as offline once their tunnel has ended.
func (g *gateway) settle(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-g.wake:
		case <-ctx.Done():
			return
		}
		for g.stillFading() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (g *gateway) stillFading() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.fading {
		if !g.tunnel(name) {
			delete(g.fading, name)
			g.routes.SetPeer(name, false, nil)
		}
	}
	return len(g.fading) > 0
}
