package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"peerway/signal"
	"peerway/signal/relay"
)

// A Relay is a relay on UDP with a machine of its own, to which signal servers send
// peers. It answers STUN too. Its methods may be called from any goroutine.
type Relay struct {
	listen string
	key    relay.Key
	server *relay.Server
	log    *slog.Logger

	ready chan struct{}
	addr  netip.AddrPort // set before ready is closed
}

// NewRelay returns a relay that does not run. Of cfg it uses Listen, the key of State,
// Capacity and Log. It acquires nothing.
func NewRelay(cfg Config) (*Relay, error) {
	if err := cfg.State.Validate(); err != nil {
		return nil, fmt.Errorf("relay state: %w", err)
	}
	cfg = cfg.defaults()
	key := relay.NewKey(cfg.State.Key)
	return &Relay{
		listen: cfg.Listen, key: key, log: cfg.Log, ready: make(chan struct{}),
		server: relay.NewServer(key, uint32(max(cfg.Capacity, 0))),
	}, nil
}

// Ready is closed when the relay serves.
func (r *Relay) Ready() <-chan struct{} { return r.ready }

// Load returns what the relay has to do.
func (r *Relay) Load() relay.Load { return r.server.Load() }

// URL returns what a signal server needs to send peers to the relay, which is reached at
// host, with a port or without, which means the port it listens on. It is valid once the
// relay is ready.
func (r *Relay) URL(host string) signal.RelayURL {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, strconv.Itoa(int(r.addr.Port())))
	}
	return signal.RelayURL{Addr: host, Key: r.key}
}

// Run serves until ctx is done, and returns its cause, or until the socket fails. When it
// returns, everything it opened is closed. It runs once.
func (r *Relay) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", r.listen)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	udp := conn.(*net.UDPConn)
	defer udp.Close()
	second := listenSecond(ctx, r.listen, udp, r.log)
	if second != nil {
		defer second.Close()
		serving.Go(func() { relay.NewSTUNServer().Serve(ctx, second, udp) })
	}
	addr := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	r.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	close(r.ready)
	r.log.Info("relay is open", "local", r.addr)
	err = r.server.Serve(ctx, udp, second)
	cancel(err)
	return err
}
