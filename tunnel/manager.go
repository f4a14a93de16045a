package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"peerway/signal"
	"peerway/tunnel/lan"
	"peerway/tunnel/lane"
	"peerway/tunnel/network"
	"peerway/tunnel/pathsock"
	"peerway/tunnel/punch"
)

// Errors that callers branch on. They are wrapped with what was tried.
var (
	// ErrNoPath: the peer was told, but no packet got through in time.
	ErrNoPath = errors.New("no packet gets through")
	// ErrPeerLost: a tunnel that was up went silent or its peer ended.
	ErrPeerLost = errors.New("the peer is gone")
)

// Reasons for which a session ends that callers do not see.
var (
	errIdle       = errors.New("idle")
	errReplaced   = errors.New("replaced by a newer tunnel")
	errSuperseded = errors.New("the peer dialed at the same time")
)

// A Signaler carries messages to a peer that there is no tunnel to, and packets
// that cannot go direct. Errors are, or wrap, [signal.ErrOffline],
// [signal.ErrNotAllowed] and [signal.ErrDisconnected].
type Signaler interface {
	// Send delivers a sealed message and waits until the server has taken it.
	Send(ctx context.Context, to signal.PeerID, sealed []byte) error
	// Bind makes the relay forward packets of session between this peer and to.
	// It does not wait.
	Bind(session uint64, to signal.PeerID) error
	// Unbind lets the relay forget session.
	Unbind(session uint64)
	// Relay sends one packet of session. It copies packet, never blocks, and
	// may lose it.
	Relay(session uint64, packet []byte) error
}

// An Incoming is a stream that a peer has opened.
type Incoming struct {
	*lane.Stream
	Peer signal.PeerID // proven by the handshake
}

// Config configures a [Manager].
type Config struct {
	Identity signal.Identity
	Instance uint64                           // which life of this process, random
	Signal   Signaler                         // borrowed
	Allowed  func(signal.PeerID) bool         // which peers may have a tunnel
	Handle   func(context.Context, *Incoming) // serves a stream of a peer; the stream is closed when it returns
	Listen   netip.AddrPort                   // UDP; zero: any address and port, with OpenPort the same one each time if it is free
	LAN      bool                             // find and be found by peers of the local networks, without the signal server
	OpenPort bool                             // have the router let packets of strangers in
	Sparing  bool                             // leave out what takes thousands of packets to find a path
	Loopback bool                             // offer loopback addresses as candidates, for peers on one machine
	Log      *slog.Logger                     // nil discards

	linger time.Duration    // tests; zero: lingerTime
	silent time.Duration    // tests; zero: silentTime
	wall   func() time.Time // tests; nil: time.Now
}

// lingerTime is how long a tunnel outlives its last stream.
const lingerTime = 30 * time.Second

// silentTime is how long nothing may be heard of a peer that the server knows to
// be offline, before its tunnel is given up. A peer that is reconnecting to the
// server is back sooner; one whose tunnel goes direct is heard.
const silentTime = 10 * time.Second

// A Manager keeps the tunnels of one process. Its methods may be called from
// any goroutine; those named like the events of the signal client ([Manager.Deliver],
// [Manager.Relayed], [Manager.Presence], [Manager.Connected]) never block.
type Manager struct {
	cfg Config
	log *slog.Logger

	running chan struct{} // closed when the socket is open
	ended   chan struct{} // closed when Run returns

	mu       sync.Mutex
	life     context.Context // of Run; nil while it does not run
	sessions sync.WaitGroup  // added to under mu while life is not done
	peers    map[signal.PeerID]*slot
	server   netip.AddrPort // of the signal server: STUN is at it
	other    netip.AddrPort // the same with the other version of IP; may be invalid
	mappings [2]mapping     // of IPv4 and of IPv6
	nat      network.NAT    // the zero value: not known
	deaf     bool           // STUN was asked, and does not answer

	connected bool // to the signal server

	early  earlyPackets
	offers recentOffers

	unsure chan struct{} // holds a token when the NAT is to be looked at
	budget *lane.Budget  // of what all tunnels hold for readers that are slow

	routes sync.Map // session at the relay, uint64 -> *session
	byAddr sync.Map // fictitious address, netip.AddrPort -> *session

	// Set by Run before running is closed.
	sock      *pathsock.Socket
	puncher   *punch.Puncher
	lan       *lan.Neighbours // nil: Config.LAN is not set
	opening   *opening        // nil: Config.OpenPort is not set
	transport *transport
	cert      tls.Certificate
}

// A slot is what the Manager knows of one peer: the tunnel that is up, and the
// one being made.
type slot struct{ up, pending *session }

// New returns a Manager. It acquires nothing.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.linger == 0 {
		cfg.linger = lingerTime
	}
	if cfg.silent == 0 {
		cfg.silent = silentTime
	}
	if cfg.wall == nil {
		cfg.wall = time.Now
	}
	return &Manager{
		cfg:     cfg,
		log:     cfg.Log,
		running: make(chan struct{}),
		ended:   make(chan struct{}),
		peers:   make(map[signal.PeerID]*slot),
		budget:  lane.NewBudget(0),
		unsure:  make(chan struct{}, 1),
	}
}

// Run keeps the tunnels until ctx is done. It is called once.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned. The error is the cause of ctx, or says why the socket
// could not be opened or was lost.
func (m *Manager) Run(ctx context.Context) error {
	defer close(m.ended)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	if err := m.open(); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	defer m.transport.close()
	defer m.stop()

	m.mu.Lock()
	m.life = ctx
	m.mu.Unlock()
	close(m.running)

	var accepting sync.WaitGroup
	defer accepting.Wait()
	defer cancel(nil)
	accepting.Go(func() { cancel(m.accept(ctx)) })
	accepting.Go(func() { m.learnNAT(ctx) })
	if m.lan != nil {
		accepting.Go(func() { m.lan.Run(ctx) })
	}
	if m.opening != nil {
		accepting.Go(func() { m.keepOpen(ctx) })
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// Running is closed when peers can be answered: an offer that comes earlier is
// lost. It stays open if [Manager.Run] fails before that.
func (m *Manager) Running() <-chan struct{} { return m.running }

// NetworkChanged says that addresses or routes of this host have changed: all paths are
// in doubt, and new ones are looked for. Package network notices when they do.
func (m *Manager) NetworkChanged() {
	select {
	case <-m.running:
	default:
		return // nothing is known yet
	}
	m.puncher.Forget()
	if m.lan != nil {
		m.lan.NetworkChanged()
	}
	if m.opening != nil {
		m.opening.mapper.Again()
	}
	m.mu.Lock()
	m.mappings, m.nat, m.deaf = [2]mapping{}, network.NAT{}, false
	m.mu.Unlock()
	m.askNAT()
	m.routes.Range(func(_, s any) bool {
		select {
		case s.(*session).moved <- struct{}{}:
		default:
		}
		return true
	})
}

// open opens the socket and what listens on it.
func (m *Manager) open() (err error) {
	if m.cert, err = certificate(m.cfg.Identity); err != nil {
		return err
	}
	seed := mappingSeed(m.cfg.Identity)
	if m.sock, err = m.listen(seed); err != nil {
		return err
	}
	if m.cfg.OpenPort {
		m.opening = newOpening(m, m.sock.Port(), seed)
	}
	m.puncher = punch.New(punch.Config{
		Write:         m.sock.WriteReal,
		Port:          m.sock.Port(),
		AllowLoopback: m.cfg.Loopback,
		Sparing:       m.cfg.Sparing,
		Adopt: func(ctx context.Context, conn *net.UDPConn, to netip.AddrPort) {
			if m.isServer(to) { // the peer has a say in where to
				return
			}
			if err := m.sock.ServeOutlet(ctx, conn, to); ctx.Err() == nil {
				m.log.Debug("outlet is lost", "remote", to, "err", err)
			}
		},
		Log: m.log,
	})
	if m.cfg.LAN {
		m.lan = lan.New(lan.Config{
			Identity: m.cfg.Identity,
			Port:     m.sock.Port(),
			Write:    m.sock.WriteReal,
			Allowed:  m.cfg.Allowed,
			Take:     m.take,
			Loopback: m.cfg.Loopback,
			Log:      m.log,
		})
	}
	m.transport, err = listenQUIC(m.sock, m.cert, m.expected)
	return err
}

// stop waits for all sessions, after which none can start.
func (m *Manager) stop() {
	m.mu.Lock()
	m.life = nil
	m.mu.Unlock()
	m.sessions.Wait()
}

// accept hands each QUIC connection to the session that waits for it.
func (m *Manager) accept(ctx context.Context) error {
	for {
		conn, err := m.transport.accept(ctx)
		if err != nil {
			return fmt.Errorf("tunnel: accept: %w", err)
		}
		s, ok := m.byAddr.Load(addrOf(conn.RemoteAddr()))
		if !ok || !s.(*session).offer(conn) {
			conn.CloseWithError(closeReplaced, "nobody waits for it")
		}
	}
}

// expected names the peer behind a fictitious address.
func (m *Manager) expected(addr net.Addr) (signal.PeerID, bool) {
	s, ok := m.byAddr.Load(addrOf(addr))
	if !ok {
		return signal.PeerID{}, false
	}
	return s.(*session).peer, true
}

// DialContext opens a stream to a service of peer, on the tunnel with it, which
// is made if there is none. Whoever asks while it is being made waits and is told
// the outcome. The answer of the peer about the service comes later: the first
// Read reports it as a [lane.RefusedError].
//
// The caller closes the stream. Errors wrap [ErrNoPath], a [*QuotaError], an error
// of [Signaler], together with [ErrNotNear] if the local networks were searched as well,
// or the cause of ctx.
func (m *Manager) DialContext(ctx context.Context, peer signal.PeerID, service string, class lane.Class) (*Outgoing, error) {
	// A tunnel can end between being found and being used; the next one cannot
	// be older than this call, so few rounds suffice.
	var err error
	for range 4 {
		var s *session
		if s, err = m.session(ctx, peer); err != nil {
			break
		}
		var stream *lane.Stream
		if stream, err = s.dial(ctx, lane.Header{Version: 1, Service: service, Class: class}); err == nil {
			return &Outgoing{stream, s}, nil
		}
		if !errors.Is(err, lane.ErrClosed) {
			break
		}
		select { // its end is not far: do not find it again
		case <-s.retired:
		case <-ctx.Done():
			return nil, fmt.Errorf("tunnel: dial %s: %w", peer.Short(), context.Cause(ctx))
		}
	}
	return nil, fmt.Errorf("tunnel: dial %s: %w", peer.Short(), err)
}

// session returns the tunnel with peer once it is up.
func (m *Manager) session(ctx context.Context, peer signal.PeerID) (*session, error) {
	select {
	case <-m.running:
	case <-m.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		s, err := m.find(peer)
		if err != nil {
			return nil, err
		}
		again, err := s.await(ctx)
		switch {
		case err == nil:
			return s, nil
		case !again:
			return nil, err
		}
	}
}

// find returns the tunnel with peer, which may not be up yet, or starts one.
func (m *Manager) find(peer signal.PeerID) (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.slot(peer)
	switch {
	case sl.up != nil:
		return sl.up, nil
	case sl.pending != nil:
		return sl.pending, nil
	}
	if m.life == nil {
		return nil, net.ErrClosed
	}
	s := newSession(m, peer, randomSession(), dialing)
	if err := m.start(sl, s); err != nil {
		return nil, err
	}
	return s, nil
}

// slot returns the slot of peer. m.mu is held.
func (m *Manager) slot(peer signal.PeerID) *slot {
	sl := m.peers[peer]
	if sl == nil {
		sl = &slot{}
		m.peers[peer] = sl
	}
	return sl
}

// start runs s as the pending session of sl. m.mu is held and Run runs.
func (m *Manager) start(sl *slot, s *session) error {
	if m.life.Err() != nil {
		s.cancel(nil)
		return net.ErrClosed
	}
	if sl.pending != nil {
		sl.pending.cancel(errSuperseded)
	}
	sl.pending = s
	if m.opening != nil {
		m.opening.need()
	}
	s.register()
	m.sessions.Go(s.run)
	return nil
}

// promote makes s the tunnel with its peer. It reports false if s was
// superseded meanwhile.
func (m *Manager) promote(s *session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.slot(s.peer)
	if sl.pending != s {
		return false
	}
	if old := sl.up; old != nil {
		was, is := old.instance.Load(), s.instance.Load()
		if was != 0 && is != 0 && was != is { // the handshake has proven it
			old.cancel(errRestarted)
		}
		old.drain(errReplaced)
	}
	sl.pending, sl.up = nil, s
	return true
}

// retire takes s out: nobody will find it any more.
func (m *Manager) retire(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.peers[s.peer]
	if sl == nil {
		return
	}
	if sl.up == s {
		sl.up = nil
	}
	if sl.pending == s {
		sl.pending = nil
	}
	if sl.up == nil && sl.pending == nil {
		delete(m.peers, s.peer)
	}
}

// Up reports whether a tunnel with peer is up. Unlike [Manager.Tunnels] it costs no packet.
func (m *Manager) Up(peer signal.PeerID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.peers[peer]
	return sl != nil && sl.up != nil
}

// Tunnels describes the tunnels that are up, ordered by peer. Their paths are measured for
// some seconds, so that who looks again knows them as they are.
func (m *Manager) Tunnels() []Info {
	m.mu.Lock()
	var up []*session
	for _, sl := range m.peers {
		if sl.up != nil {
			up = append(up, sl.up)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(up, func(a, b *session) int { return slices.Compare(a.peer[:], b.peer[:]) })
	infos := make([]Info, len(up))
	for i, s := range up {
		infos[i] = s.info(time.Now())
	}
	return infos
}

// Info describes a tunnel at one moment.
type Info struct {
	Peer              signal.PeerID
	Path              string         // "direct", "relay-udp" or "relay-ws"; empty: none yet
	Remote            netip.AddrPort // of the direct path; else the relay or signal server
	RTT               time.Duration  // of the path, or over the tunnel where that was not measured of late
	Streams           int
	BytesIn, BytesOut int64         // of QUIC packets
	Idle              time.Duration // since the last stream ended; 0 while there is one
	Up                time.Duration
	Exhausted         string     // which relays' quotas are used up, in words for people; empty: none
	Paths             []PathInfo // that there are now, the best kind first; empty before the first second

	Why                string // as in [Pong]
	Hitch              Hitch  // the same
	Limits, PeerLimits Limits // of this end, and of the peer as it says
}
