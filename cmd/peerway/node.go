package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/httpx"
	"peerway/proxy"
	"peerway/proxy/export"
	"peerway/rtsp"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/tunnel"
	"peerway/tunnel/network"
)

// A nodeConfig says what a node is.
type nodeConfig struct {
	dir      *state.Dir // borrowed
	url      signal.URL // of the signal server
	typed    bool       // a person has just said so: that another one is there, they want to know at once
	name     string     // display name to log in with
	insist   bool       // on name, even if it is taken
	services []service  // what it exposes; none: it offers no pairing codes either
	gateway  *listen    // where it listens for viewers; nil: it is no gateway
	loopback bool       // all peers are on this machine
	lan      bool       // peers may be found in the local network
	openPort bool       // the router is asked to let packets in
	metered  bool       // the line is paid for by the byte
	told     told
	log      *slog.Logger
}

// told are the moments that others are told of. Nil functions are left out; the
// others are called from different goroutines and do not block.
type told struct {
	ready   func(name string)               // logged in, or doing without, and the services were tried; again when the name is another one
	silent  func()                          // none of the services answers
	code    func(code signal.Code)          // a pairing code is good from now on
	service func(service, peer, url string) // a service can be reached
}

// A node is a peer of the network: it exposes services, is a gateway, or both.
type node struct {
	cfg      nodeConfig
	log      *slog.Logger
	id       signal.PeerID
	book     *book
	uplink   *uplink
	tunnels  *tunnel.Manager
	reach    dialer
	health   *health
	exporter *export.Exporter
	gateway  *gateway // nil if it is none

	loggedIn chan struct{} // closed at the first login
	once     sync.Once     // for that

	mu   sync.Mutex
	open bool   // logged in at least once, or doing without
	name string // as the server told it
	said string // to told.ready
}

// newNode returns a node for cfg. It reads the state folder and acquires
// nothing.
func newNode(cfg nodeConfig) (*node, error) {
	identity, err := cfg.dir.Identity()
	if err != nil {
		return nil, err
	}
	names, err := openBook(cfg.dir)
	if err != nil {
		return nil, err
	}
	cfg.log = slog.New(nameHandler{cfg.log.Handler(), names})
	if cfg.gateway != nil {
		if err := names.recall(cfg.log); err != nil {
			return nil, err
		}
	}
	n := &node{cfg: cfg, log: cfg.log, id: identity.PeerID(), book: names, name: cfg.name, loggedIn: make(chan struct{})}
	instance := rand.Uint64()
	n.health = newHealth(cfg.services, cfg.log)
	n.exporter = &export.Exporter{Services: n.health.backends(), Allow: names.named, Log: cfg.log}
	n.uplink = newUplink(client.Config{
		URL: cfg.url, Identity: identity, Name: cfg.name, Instance: instance, Handler: events{n}, Log: cfg.log,
		Admits: func(p client.Paired) error { return names.admits(p.Peer, p.Name, cfg.url.Addr) },
	}, cfg.insist, cfg.lan && !cfg.typed && names.size() > 0)
	n.tunnels = tunnel.New(tunnel.Config{
		Identity: identity, Instance: instance, Signal: n.uplink, Allowed: names.allowed, LAN: cfg.lan, OpenPort: cfg.openPort, Loopback: cfg.loopback, Sparing: cfg.metered, Log: cfg.log,
		Handle: n.serve,
	})
	n.reach = dialer{names, n.tunnels, cfg.url.Addr, &failures{}}
	if cfg.gateway != nil {
		n.gateway = newGateway(*cfg.gateway, names, n.reach, n.hasTunnel, cfg.told.service, cfg.log)
	}
	return n, nil
}

// serve serves a stream that a peer has opened.
func (n *node) serve(ctx context.Context, in *tunnel.Incoming) {
	n.reach.failures.clear(in.Peer)
	n.exporter.Serve(ctx, newIncoming(in, n.book))
}

// Run keeps the node until ctx is done or the server refuses it.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned: viewers first, then tunnels, then the connection to the
// signal server, over which tunnels may still say goodbye.
func (n *node) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	uplink := func(ctx context.Context) error {
		return n.uplink.Run(ctx, offered(n.cfg.services), n.book.ids)
	}
	listening := make(chan struct{})
	defer background(ctx, fail, func(ctx context.Context) error { // last to end
		select {
		case <-listening: // no peer may see this one before it can answer
			return uplink(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})()
	defer background(ctx, fail, n.tunnels.Run)()
	select {
	case <-n.tunnels.Running():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if n.gateway != nil {
		defer background(ctx, fail, func(ctx context.Context) error { return n.book.Run(ctx, n.log) })()
		defer background(ctx, fail, n.gateway.Run)()
		select {
		case <-n.gateway.ready():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer background(ctx, fail, n.health.Run)()
	defer background(ctx, fail, func(ctx context.Context) error { return network.Watch(ctx, n.networkChanged) })()
	close(listening)
	if err := n.awaitLogin(ctx); err != nil {
		return err
	}
	if err := n.cfg.dir.SaveSelf(state.Self{Name: n.displayName(), Signal: n.cfg.url}); err != nil {
		n.log.Error("cannot remember the name and the signal server", "err", err)
	}
	select {
	case <-n.health.tried:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if n.health.silent() && n.cfg.told.silent != nil {
		n.cfg.told.silent()
	}
	n.sayReady()
	if len(n.cfg.services) > 0 {
		defer background(ctx, fail, n.offerCodes)()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// aloneAfter is how long the signal server is waited for before a node does without.
const aloneAfter = 2 * time.Second

// awaitLogin waits for the first login. If it does not come soon, the node does without: its
// peers may be in the local network.
func (n *node) awaitLogin(ctx context.Context) error {
	var alone <-chan time.Time
	if n.cfg.lan && n.book.size() > 0 {
		timer := time.NewTimer(aloneAfter)
		defer timer.Stop()
		alone = timer.C
	}
	var tried <-chan struct{} = n.health.tried
	for {
		select {
		case <-n.loggedIn:
			return nil
		case <-tried:
			tried = nil
			n.sayReady()
		case <-alone:
			n.alone()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// alone tells what can be had without the signal server. A gateway opens with what it remembers.
func (n *node) alone() {
	if len(n.cfg.services) > 0 {
		n.log.Warn("no signal server yet: paired peers in the local network can use the services, others cannot", "remote", n.cfg.url.Addr)
	}
	if n.gateway == nil {
		return // ready is who has logged in: there is no code without a server
	}
	n.log.Warn("no signal server yet: peers are looked for in the local network only", "remote", n.cfg.url.Addr)
	n.opened("")
	n.sayReady()
	n.gateway.tellRemembered()
}

// opened records that the node is logged in under name, or, without one, that it does without.
func (n *node) opened(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open, n.name = true, cmp.Or(name, n.name)
}

// sayReady tells the name that others see, once, if the node is open and the services were tried.
func (n *node) sayReady() {
	select {
	case <-n.health.tried:
	default:
		return // it will be said then
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.open || n.said == n.name {
		return
	}
	n.said = n.name
	if n.cfg.told.ready != nil {
		n.cfg.told.ready(n.name)
	}
}

// offerCodes keeps a pairing code available and lets in who uses it, until ctx
// is done.
func (n *node) offerCodes(ctx context.Context) error {
	for {
		err := n.offerCode(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || errors.Is(err, client.ErrCodeExpired) {
			continue
		}
		n.log.Warn("no peer can pair now", "err", err, "retry_in", codePause)
		pause(ctx, codePause)
	}
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// codePause is how long no code is offered after one could not be.
const codePause = 10 * time.Second

// offerCode offers one code and lets in who uses it.
func (n *node) offerCode(ctx context.Context) error {
	box, err := n.uplink.client().OpenMailbox(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	if n.cfg.told.code != nil {
		n.cfg.told.code(box.Code())
	}
	paired, err := box.Wait(ctx)
	if err != nil {
		return err
	}
	return n.admit(paired)
}

// admit lets a peer in from now on.
func (n *node) admit(p client.Paired) error {
	before, again := n.book.name(p.Peer)
	name, err := n.book.add(p.Peer, p.Name, n.cfg.url.Addr)
	if err != nil {
		return err
	}
	if again && before != name && n.gateway != nil {
		n.gateway.forget(before)
	}
	n.log.Info("paired with a peer", "peer", name)
	n.uplink.client().Announce(offered(n.cfg.services), n.book.ids())
	return nil
}

// hasTunnel reports whether a tunnel is up with the peer of that name.
func (n *node) hasTunnel(name string) bool {
	id, ok := n.book.id(name)
	return ok && n.tunnels.Up(id)
}

// report describes the node.
func (n *node) report() report {
	r := report{
		Role: n.role(), Name: n.displayName(), ID: n.id.String(),
		Signal:  n.uplink.report(),
		Exposes: n.health.report(time.Now()),
		Peers:   n.book.report(n.localURL, n.cfg.url.Addr),
		Tunnels: []tunnelReport{},
	}
	if router, reached := n.tunnels.OpenPort(); router.IsValid() {
		r.Port = &portReport{Address: router.String(), Reached: reached}
	}
	for _, t := range n.tunnels.Tunnels() {
		peer, ok := n.book.name(t.Peer)
		if !ok {
			peer = t.Peer.Short()
		}
		u := tunnelReport{
			Peer: peer, Path: pathName(t.Path), RTT: milliseconds(t.RTT), Streams: t.Streams,
			BytesIn: t.BytesIn, BytesOut: t.BytesOut, Idle: int64(t.Idle / time.Second), Up: int64(t.Up / time.Second),
			Why: t.Why, Exhausted: t.Exhausted, Hitch: string(t.Hitch), Limits: limitNames(t.Limits), PeerLimits: limitNames(t.PeerLimits),
		}
		if t.Remote.IsValid() {
			u.Remote = t.Remote.String()
		}
		for _, p := range t.Paths {
			u.Paths = append(u.Paths, reportPath(p))
		}
		r.Tunnels = append(r.Tunnels, u)
	}
	for i, p := range r.Peers {
		id, _ := n.book.id(p.Name)
		if !n.tunnels.Up(id) {
			r.Peers[i].Failure = n.reach.failures.report(id, time.Now())
		}
	}
	return r
}

// localURL returns where a service of a peer is on this machine, or "".
func (n *node) localURL(peer string, s signal.Service) string {
	if n.gateway == nil {
		return ""
	}
	return n.gateway.url(peer, s)
}

// pathName returns what a path is called here.
func pathName(name string) string { return cmp.Or(name, "none") }

func reportPath(p tunnel.PathInfo) pathReport {
	r := pathReport{
		Path: p.Path, InUse: p.InUse, RTT: milliseconds(p.RTT), Loss: math.Round(1000*p.Loss) / 1000,
		BytesIn: int64(p.BytesIn), BytesOut: int64(p.BytesOut),
		Age: time.Since(p.At).Milliseconds(),
	}
	if p.Remote.IsValid() {
		r.Remote = p.Remote.String()
	}
	if !p.Heard.IsZero() {
		heard := time.Since(p.Heard).Milliseconds()
		r.Heard = &heard
	}
	return r
}

// login implements asker.
func (n *node) login(ctx context.Context) { n.uplink.await(ctx) }

// ping implements asker.
func (n *node) ping(ctx context.Context, peer string) (pong, error) {
	target := proxy.Target{Peer: peer}
	id, ok := n.book.id(peer)
	if !ok {
		return pong{}, unknownPeer(target)
	}
	p, err := n.tunnels.Ping(ctx, id)
	if errors.Is(err, signal.ErrDisconnected) && n.uplink.await(ctx) {
		p, err = n.tunnels.Ping(ctx, id)
	}
	if err != nil {
		return pong{}, n.reach.explain(id, target, err)
	}
	n.reach.failures.clear(id)
	answer := pong{
		Peer: peer, Path: pathName(p.Path), RTT: milliseconds(p.RTT), Why: p.Why, PeerWhy: printable(p.PeerWhy),
		Hitch: string(p.Hitch), Limits: limitNames(p.Limits), PeerLimits: limitNames(p.PeerLimits),
	}
	if p.Remote.IsValid() {
		answer.Remote = p.Remote.String()
	}
	return answer, nil
}

// check implements asker: it asks the real server what the first viewer would.
func (n *node) check(ctx context.Context, peer, service string) error {
	target, reach := proxy.Target{Peer: peer, Service: service}, awaited{n.reach}
	known := n.book.services(peer)
	i := slices.IndexFunc(known, func(s signal.Service) bool { return s.Name == service })
	switch {
	case i >= 0 && known[i].Scheme == "rtsp":
		return rtsp.Check(ctx, reach, target)
	case i >= 0 && strings.HasPrefix(known[i].Scheme, "http"):
		return httpx.Check(ctx, reach, target)
	}
	c, err := reach.DialContext(ctx, target, proxy.Mixed)
	if err != nil {
		return err
	}
	proxy.Abort(c)
	return c.Close()
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// networkChanged tells all that have something to do with networks.
func (n *node) networkChanged() {
	n.log.Info("the network has changed")
	n.uplink.NetworkChanged()
	n.tunnels.NetworkChanged()
}

// displayName returns the name that others see.
func (n *node) displayName() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.name
}

func (n *node) role() string {
	switch {
	case n.gateway == nil:
		return "peer"
	case len(n.cfg.services) == 0:
		return "gateway"
	}
	return "peer+gateway"
}

// node returns a node for cfg that prints what programs wait for.
func (p *program) node(cfg nodeConfig) (*node, error) {
	var asked sync.Once
	cfg.lan, cfg.openPort, cfg.metered = !p.noLAN, !p.noPort, p.metered
	cfg.told = told{
		ready: func(name string) { p.out.print("ready", name) },
		silent: func() {
			p.tell("Warning: no service answers now. They are shared nevertheless and will work when they are on; if they are, check the URLs.")
		},
		service: func(service, peer, url string) { p.out.print("service", service, peer, url) },
		code: func(code signal.Code) {
			p.out.print("pair", code.String())
			asked.Do(func() { p.hint("On the other machine run, within 10 minutes:\n\n    peerway connect %s\n", code) })
		},
	}
	return newNode(cfg)
}

// runNode runs n and its control socket until ctx is done or one fails.
func runNode(ctx context.Context, n *node) error {
	return runWithControl(ctx, n.cfg.dir, answers{n.report, n}, n.log, n.Run)
}

// runWithControl runs f beside a control socket that answers with a.
func runWithControl(ctx context.Context, dir *state.Dir, a answers, log *slog.Logger, f func(context.Context) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := newControl(dir, a, log)
	defer background(ctx, fail, c.Run)()
	select {
	case <-c.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return f(ctx)
}
