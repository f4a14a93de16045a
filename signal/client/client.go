package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
	"peerway/signal/relay"
)

// How long a lost connection is waited for: a random part of a time that starts
// at backoffMin and doubles to backoffMax.
const (
	backoffMin = 500 * time.Millisecond
	backoffMax = 30 * time.Second
)

// A Handler is told what comes from the server, in the order in which it comes.
// Its methods are called from one goroutine and must not block. Slices are
// borrowed: they are valid during the call only.
type Handler interface {
	// Deliver is called with a message of another peer.
	Deliver(from signal.PeerID, sealed []byte)
	// Relayed is called with a packet of a relay session.
	Relayed(session uint64, packet []byte)
	// Granted is called with relays on UDP that a relay session may use, the best
	// first, again and again while the session is bound.
	Granted(session uint64, places []relay.Place)
	// Spent is called when the server carries no more packets of a relay session, because
	// its two peers have used up their quota: again and again while either sends some. left
	// is how long that lasts, a day at most.
	Spent(session uint64, left time.Duration)
	// Presence is called after each login for every allowed peer, online or
	// not, and then for each change.
	Presence(signal.Presence)
	// Connected is called after every login.
	Connected(Info)
	// Disconnected is called when a connection that was announced by Connected
	// is lost, with the reason.
	Disconnected(error)
}

// Info describes a connection to the server.
type Info struct {
	Name     string         // the display name, as others see it
	Server   netip.AddrPort // where the server answers STUN over UDP; zero if not known
	Other    netip.AddrPort // where it does with the other version of IP; zero if not known
	Observed netip.AddrPort // this side's address as the server sees it
}

// Config is what a [Client] needs.
type Config struct {
	URL      signal.URL
	Identity signal.Identity
	Name     string // display name to log in with; case does not matter
	Instance uint64 // tells the processes of one peer apart; random
	Handler  Handler
	// Admits is asked before one who has used a pairing code is answered: an error refuses, and is
	// told. Nil admits. It is called as the Handler is.
	Admits func(Paired) error
	Log    *slog.Logger // nil discards
	// DialContext opens TCP connections; nil means a [net.Dialer].
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy returns the proxy for a request to the server, as
	// [http.ProxyFromEnvironment] does; nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// RootCAs verify a public certificate; nil means those of the system.
	RootCAs *x509.CertPool
}

// Validate reports every mistake in c.
func (c Config) Validate() error {
	var errs []error
	if c.URL.Addr == "" {
		errs = append(errs, errors.New("no signal server URL"))
	}
	if c.Identity.IsZero() {
		errs = append(errs, errors.New("no identity"))
	}
	if c.Handler == nil {
		errs = append(errs, errors.New("no handler"))
	}
	errs = append(errs, signal.ValidName(strings.ToLower(c.Name)))
	return errors.Join(errs...)
}

// A Client is a peer's side of the connection to the signal server. Its methods
// may be called from any goroutine, before, during and after Run, also from the
// handler, but for those that wait for an answer.
type Client struct {
	cfg   Config
	log   *slog.Logger
	codec wire.Codec

	link   atomic.Pointer[wire.Link] // nil while there is no connection
	hurry  chan struct{}             // holds a token when the network has changed
	wanted chan struct{}             // holds a token when somebody has missed the connection
	outage outage                    // of Run's goroutine

	mu        sync.Mutex
	name      string // as the server told it
	services  []signal.Service
	allow     []signal.PeerID
	binds     map[uint64]wire.Bind
	lastID    uint64
	pending   map[uint64]func(wire.Frame, error) // called on Run's goroutine
	mailboxes map[[32]byte]*Mailbox
	online    bool          // logged in
	changed   chan struct{} // closed and replaced at every login, and when there is no connection any more or still none
	key       []byte        // the server's public key, once it is known
	abort     func(error)   // ends the dial that is under way; nil: there is none
	trouble   Trouble
}

// New returns a client that is not connected. It acquires nothing.
func New(cfg Config) *Client {
	cfg.Name = strings.ToLower(cfg.Name)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg:       cfg,
		log:       cfg.Log,
		codec:     wire.NewCodec(),
		name:      cfg.Name,
		binds:     make(map[uint64]wire.Bind),
		pending:   make(map[uint64]func(wire.Frame, error)),
		mailboxes: make(map[[32]byte]*Mailbox),
		changed:   make(chan struct{}),
		hurry:     make(chan struct{}, 1),
		wanted:    make(chan struct{}, 1),
	}
}

// Run keeps the client connected until ctx is done, and returns its cause, or
// until the server refuses it in a way that no retry can heal, and returns a
// [*RefusedError]. When Run returns, everything it opened is closed and every
// goroutine it started has returned. It may be run again.
func (c *Client) Run(ctx context.Context) error {
	if err := c.cfg.Validate(); err != nil {
		return fmt.Errorf("signal client: %w", err)
	}
	backoff, ever := backoffMin, false
	for {
		welcomed, err := c.session(ctx)
		ever = ever || welcomed
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.setTrouble(err)
		refused, isRefused := errors.AsType[*RefusedError](err)
		if isRefused && (refused.Code != WrongPin || !ever) {
			return refused
		}
		if welcomed {
			backoff = backoffMin
		}
		_, displaced := errors.AsType[*displacedError](err)
		if displaced {
			backoff = backoffMax // it would displace the other one in turn
		}
		wait := rand.N(backoff)
		away, asked := errors.AsType[*goingAwayError](err)
		if asked {
			wait = rand.N(max(away.retry, backoffMin))
		}
		level, what := slog.LevelDebug, "no connection to the signal server, trying again"
		if c.outage.failed(time.Now(), isRefused) {
			level = slog.LevelWarn
		}
		if welcomed {
			what = "signal server is lost, trying again"
		}
		c.log.Log(ctx, level, what, "remote", c.cfg.URL.Addr, "err", err, "retry_in", wait.Round(time.Millisecond))
		hurried, err := c.wait(ctx, wait, displaced || asked)
		if err != nil {
			return err
		}
		if backoff = min(2*backoff, backoffMax); hurried {
			backoff = backoffMin
		}
	}
}

// errNetworkChanged ends a dial that began before the network changed.
var errNetworkChanged = errors.New("the network has changed")

// NetworkChanged says that addresses or routes of this host have changed: the client
// finds out within seconds whether its connection is still alive, and does not wait
// before it tries again.
func (c *Client) NetworkChanged() {
	select {
	case c.hurry <- struct{}{}:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abort != nil {
		c.abort(errNetworkChanged)
	}
}

// dial opens a connection, unless the network changes meanwhile.
func (c *Client) dial(ctx context.Context, d dialer) (*connection, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	abort := func(f func(error)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.abort = f
	}
	abort(cancel)
	defer abort(nil)
	return d.dial(ctx, c.codec)
}

// Announce says what this peer exposes and which peers may see and reach it; two
// peers see each other only if each allows the other. It is remembered and
// repeated after each login. What exceeds [signal.MaxServices] or
// [signal.MaxAllowed] is left out.
func (c *Client) Announce(services []signal.Service, allow []signal.PeerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services = append([]signal.Service(nil), services[:min(len(services), signal.MaxServices)]...)
	c.allow = append([]signal.PeerID(nil), allow[:min(len(allow), signal.MaxAllowed)]...)
	if link := c.link.Load(); link != nil {
		c.announce(link)
	}
}

// announce sends what Announce remembered. The caller holds c.mu.
func (c *Client) announce(link *wire.Link) {
	services, allow := c.services, c.allow
	for {
		// 128 services are 6 KiB at most, 256 peers 9 KiB.
		ns, na := min(len(services), 128), min(len(allow), 256)
		part := wire.Announce{Services: services[:ns], Allow: allow[:na]}
		services, allow = services[ns:], allow[na:]
		part.More = len(services) > 0 || len(allow) > 0
		c.post(link, wire.TypeAnnounce, 0, part)
		if !part.More {
			return
		}
	}
}

// Send delivers a sealed message of at most [signal.MaxSealed] bytes to a peer,
// and waits until it is on its way there. It is in the server's hands, before
// all that is sent or relayed later, as soon as it is queued, which never waits.
// It fails with [signal.ErrOffline], [signal.ErrNotAllowed] or
// [signal.ErrDisconnected], which comes with why there is no connection, or the cause of ctx.
func (c *Client) Send(ctx context.Context, to signal.PeerID, sealed []byte) error {
	if len(sealed) > signal.MaxSealed {
		return fmt.Errorf("send to %s: %d bytes, at most %d", to.Short(), len(sealed), signal.MaxSealed)
	}
	for {
		err := c.request(ctx, wire.TypeSend, wire.Sealed{Peer: to, Box: sealed})
		later, ok := errors.AsType[*serverError](err)
		if !ok || later.Code != wire.CodeRateLimited {
			if err != nil {
				return fmt.Errorf("send to %s: %w", to.Short(), err)
			}
			return nil
		}
		if err := wire.Pause(ctx, later.retryAfter()); err != nil {
			return fmt.Errorf("send to %s: %w", to.Short(), err)
		}
	}
}

// Bind joins this peer and to in a relay session. It is queued and not answered:
// packets that are relayed after it follow it. The client remembers it, repeats
// it after each login, and keeps it alive until [Client.Unbind]. While there is
// no connection it fails with [signal.ErrDisconnected], but is remembered.
func (c *Client) Bind(session uint64, to signal.PeerID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	bind, known := c.binds[session]
	if !known && len(c.binds) >= relay.MaxSessions {
		return fmt.Errorf("bind: %w", relay.ErrTooMany)
	}
	bind.Session, bind.To = session, to
	c.binds[session] = bind
	link := c.link.Load()
	if link == nil {
		return signal.ErrDisconnected
	}
	return c.post(link, wire.TypeBind, 0, bind)
}

// Unbind lets a relay session die.
func (c *Client) Unbind(session uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.binds, session)
}

// Relay queues a copy of one packet of a relay session. It never blocks. A nil
// error promises nothing: packets may be lost.
func (c *Client) Relay(session uint64, packet []byte) error {
	link := c.link.Load()
	if link == nil {
		return signal.ErrDisconnected
	}
	if !link.Relay(session, packet) {
		return wire.ErrFull
	}
	return nil
}

// rebind repeats all binds. The caller holds c.mu.
func (c *Client) rebind(link *wire.Link) {
	for _, bind := range c.binds {
		c.post(link, wire.TypeBind, 0, bind)
	}
}

// granted remembers which relays a session has, for a server that does not know: it would
// choose others.
func (c *Client) granted(g wire.Grants) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bind, ok := c.binds[g.Session]
	if !ok {
		return
	}
	bind.Relays = nil
	for _, grant := range g.Grants[:min(len(g.Grants), wire.MaxRelays)] {
		bind.Relays = append(bind.Relays, grant.Where())
	}
	c.binds[g.Session] = bind
}

// post queues a message. A queue that is full means that the server has not
// read for long, so the connection is given up; the login repeats what was lost.
func (c *Client) post(link *wire.Link, kind wire.Type, id uint64, body any) error {
	msg, err := c.codec.Message(kind, id, body)
	if err != nil {
		return err
	}
	if err := link.Send(msg); err != nil {
		link.Finish(nil, wire.CodeBusy.CloseCode(), "", 0)
		return signal.ErrDisconnected
	}
	return nil
}

// ask queues a request whose answer, or loss, is told to done on Run's
// goroutine. The caller holds c.mu.
func (c *Client) ask(link *wire.Link, kind wire.Type, body any, done func(wire.Frame, error)) (id uint64, err error) {
	c.lastID++
	id = c.lastID
	if err := c.post(link, kind, id, body); err != nil {
		return 0, err
	}
	c.pending[id] = done
	return id, nil
}

// request sends a request and waits for its result.
func (c *Client) request(ctx context.Context, kind wire.Type, body any) error {
	result := make(chan error, 1)
	c.mu.Lock()
	link := c.link.Load()
	if link == nil {
		defer c.mu.Unlock()
		c.miss()
		if c.trouble.Err != nil {
			return fmt.Errorf("%w: %w", signal.ErrDisconnected, c.trouble.Err)
		}
		return signal.ErrDisconnected
	}
	id, err := c.ask(link, kind, body, func(_ wire.Frame, err error) { result <- err })
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
		return context.Cause(ctx)
	}
}
