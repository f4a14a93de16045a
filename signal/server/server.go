package server

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
	"peerway/signal/relay"
)

// Limits of a server.
const (
	defaultListen    = ":7443"
	defaultHeartbeat = 20 * time.Second
	defaultCapacity  = 1000 // Mbit/s
	maxConnections   = 10_000
	maxHandshakes    = 256
	maxOfOneAddress  = 64          // handshakes
	saveDelay        = time.Second // collects changes of the state
	acceptToldEvery  = time.Minute // that connections cannot be accepted
)

// Config is what a [Server] needs.
type Config struct {
	Listen string // HOST:PORT for TCP and UDP; "" means :7443, port 0 any free one
	State  State
	// Save stores the state whenever it has changed. It is called from one
	// goroutine at a time, and must be atomic. nil forgets.
	Save func(State) error
	Log  *slog.Logger // nil discards
	// Certificates are public ones, for peers that use a wss:// URL.
	Certificates []tls.Certificate
	// Relay limits what two peers may send each other over each relay on UDP. Its rate holds
	// for what each sends over its websocket too, and its quota once more for what both do.
	Relay relay.Limits
	// Capacity is how many Mbit/s the server's own relay on UDP may forward: it decides who
	// is sent to which relay. 0 means 1000; a negative one that it forwards nothing.
	Capacity int
	// Relays are others, with machines of their own.
	Relays []signal.RelayURL
	// Addresses returns those of this machine, the best of each version of IP first, for a server that listens at all of them:
	// peers that know it by one address are told the other, of the other version of IP. It
	// may be called from any goroutine. Nil: they are not.
	Addresses func() []netip.Addr
	// Heartbeat is told to peers, in whole seconds; a peer that is silent for
	// three of them is gone. 0 means 20 s.
	Heartbeat time.Duration
}

// A Server is a signal server. Its methods may be called from any goroutine.
type Server struct {
	cfg       Config
	log       *slog.Logger
	tls       *tls.Config
	key       ed25519.PublicKey
	secret    signal.Secret
	heartbeat time.Duration
	codec     wire.Codec
	hub       *hub
	table     relay.Table   // of what is relayed on websockets
	relay     *relay.Server // on UDP
	fleet     *relay.Fleet
	buffers   sync.Pool     // write buffers of websockets
	chunks    wire.Buffers  // of relay frames
	unsaved   chan struct{} // holds one token if the state has changed

	ready chan struct{}
	addr  netip.AddrPort // set before ready is closed
}

// New returns a server that does not run. It acquires nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.State.Validate(); err != nil {
		return nil, fmt.Errorf("signal server state: %w", err)
	}
	key := ed25519.NewKeyFromSeed(cfg.State.Key)
	own, err := certificate(key)
	if err != nil {
		return nil, fmt.Errorf("signal server certificate: %w", err)
	}
	cfg = cfg.defaults()
	s := &Server{
		cfg: cfg, log: cfg.Log, tls: tlsConfig(own, cfg.Certificates),
		key: key.Public().(ed25519.PublicKey), secret: cfg.State.Secret,
		heartbeat: cfg.Heartbeat, codec: wire.NewCodec(), hub: newHub(cfg.State.Peers),
		unsaved: make(chan struct{}, 1), ready: make(chan struct{}),
	}
	s.table.Quota = uint64(cfg.Relay.Quota) << 20
	s.relay = relay.NewSTUNServer()
	var load func() relay.Load
	if cfg.Capacity >= 0 {
		s.relay = relay.NewServer(relay.NewKey(cfg.State.Key), uint32(cfg.Capacity))
		load = s.relay.Load
	}
	s.fleet = relay.NewFleet(relay.NewKey(cfg.State.Key), load, cfg.Relays, cfg.Log)
	return s, nil
}

// defaults returns c with the values that zero ones mean.
func (c Config) defaults() Config {
	c.Listen = cmp.Or(c.Listen, defaultListen)
	c.Heartbeat = cmp.Or(c.Heartbeat, defaultHeartbeat)
	c.Capacity = cmp.Or(c.Capacity, defaultCapacity)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Ready is closed when the server accepts peers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Online returns how many peers are logged in.
func (s *Server) Online() int {
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	return len(s.hub.online)
}

// Relays describes the relays on UDP that peers are sent to.
func (s *Server) Relays() []*relay.Member { return s.fleet.Members() }

// Addr returns the address the server listens on. It is valid once it is ready.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// URL returns what a peer needs to log in, for a server that is reached at host,
// with a port or without, which means the port it listens on. It is valid once
// the server is ready.
func (s *Server) URL(host string) signal.URL {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, strconv.Itoa(int(s.addr.Port())))
	}
	return signal.URL{Addr: host, Pin: signal.PinOf(s.key), Secret: s.secret}
}

// Run serves until ctx is done, and returns its cause, or until the listener
// fails. It tells peers that it goes away. When Run returns, everything it
// opened is closed and every goroutine it started has returned. It runs once.
func (s *Server) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	tcp, udp, err := listen(ctx, s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("signal server: %w", err)
	}
	defer udp.Close()
	defer tcp.Close()
	defer wire.OnDone(ctx, func() { tcp.Close() })()
	second := listenSecond(ctx, s.cfg.Listen, udp, s.log)
	if second != nil {
		defer second.Close()
		all.Go(func() { relay.NewSTUNServer().Serve(ctx, second, udp) })
	}
	all.Go(func() {
		if err := s.relay.Serve(ctx, udp, second); ctx.Err() == nil {
			cancel(err)
		}
	})
	all.Go(func() { s.fleet.Run(ctx) })
	all.Go(func() { s.sweep(ctx) })
	all.Go(func() { s.save(ctx) })

	addr, _ := netip.ParseAddrPort(tcp.Addr().String())
	s.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	close(s.ready)
	s.log.Info("signal server is open", "local", s.addr)
	return s.accept(ctx, tcp)
}

// accept owns all connections. It returns after they are closed.
func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	open := make(chan struct{}, maxConnections)
	var handshakes lobby
	var failed time.Time // when that was logged last
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("signal server: %w", err)
		default: // no descriptors left, or a connection that died in the queue
			if now := time.Now(); now.Sub(failed) >= acceptToldEvery {
				s.log.Warn("connections cannot be accepted", "err", err)
				failed = now
			}
			wire.Pause(ctx, 50*time.Millisecond)
			continue
		}
		if !enter(open) {
			conn.Close()
			continue
		}
		from := remoteAddr(conn).Addr()
		if !handshakes.enter(from) { // clients come back after a random time
			<-open
			conn.Close()
			continue
		}
		connections.Go(func() {
			defer func() { <-open }()
			s.serve(ctx, conn, func() { handshakes.leave(from) })
		})
	}
}

// enter takes a place if there is one.
func enter(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// sweep ends the sessions of peers that have gone silent, and forgets what is
// over.
func (s *Server) sweep(ctx context.Context) {
	loseAfter := 3 * s.heartbeat
	tick := time.NewTicker(s.heartbeat / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.table.Sweep(now)
			for _, p := range s.hub.sweep(now, now.Add(-loseAfter)) {
				p.reject(&wire.Error{Code: wire.CodeSilent, Text: "nothing was heard for " + loseAfter.String()})
			}
		}
	}
}

// changed makes the state be saved soon.
func (s *Server) changed() {
	select {
	case s.unsaved <- struct{}{}:
	default:
	}
}

// save saves the state after changes, and a last time when ctx is done.
func (s *Server) save(ctx context.Context) {
	for {
		select {
		case <-s.unsaved:
		case <-ctx.Done():
			select {
			case <-s.unsaved:
				s.store()
			default:
			}
			return
		}
		wire.Pause(ctx, saveDelay) // its end does not matter: what is unsaved is saved
		s.store()
	}
}

func (s *Server) store() {
	if s.cfg.Save == nil {
		return
	}
	state := State{Key: s.cfg.State.Key, Secret: s.secret, Peers: s.hub.known()}
	if err := s.cfg.Save(state); err != nil {
		s.log.Error("known peers are not saved", "err", err)
	}
}

// listenSecond opens the UDP port after that of first, from which peers learn what kind
// of NAT they are behind. It returns nil if that is taken: peers then know less.
func listenSecond(ctx context.Context, listen string, first *net.UDPConn, log *slog.Logger) *net.UDPConn {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil
	}
	port := strconv.Itoa(first.LocalAddr().(*net.UDPAddr).Port + 1)
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
	if err != nil {
		log.Debug("no second port for STUN", "err", err)
		return nil
	}
	return conn.(*net.UDPConn)
}

// listen opens TCP and UDP at the same port number. The caller closes both.
func listen(ctx context.Context, addr string) (net.Listener, *net.UDPConn, error) {
	var config net.ListenConfig
	for tries := 1; ; tries++ {
		tcp, err := config.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			tcp.Close()
			return nil, nil, err
		}
		port := strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)
		udp, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
		if err == nil {
			return tcp, udp.(*net.UDPConn), nil
		}
		tcp.Close()
		if _, wish, _ := net.SplitHostPort(addr); wish != "0" || tries == 20 {
			return nil, nil, err
		}
	}
}
