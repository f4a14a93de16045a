package lan

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"peerway/signal"
)

// Config configures a [Neighbours].
type Config struct {
	Identity signal.Identity
	Port     uint16                                                      // of the path socket
	Write    func(packet []byte, to netip.AddrPort) error                // sends from the path socket
	Allowed  func(signal.PeerID) bool                                    // who may ask for and write to this peer; does not block
	Take     func(from signal.PeerID, message []byte, at netip.AddrPort) // takes a message of a peer, genuine, recent, once; does not block
	Loopback bool                                                        // this host is a local network as well
	Log      *slog.Logger                                                // nil discards
}

// Neighbours are the peers in the local networks of this host. Its methods may be called
// from any goroutine.
type Neighbours struct {
	finder  *finder
	courier *courier
}

// New returns a Neighbours. It acquires nothing.
func New(cfg Config) *Neighbours {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	peers := newCorrespondents(cfg.Identity)
	f := newFinder(cfg, peers)
	return &Neighbours{f, newCourier(cfg, peers, f.local)}
}

// Run answers neighbours until ctx is done, and returns its cause. Without it nobody is
// found. Where there is no multicast it does nothing.
//
// When Run returns, everything it opened is closed and every goroutine it started has
// returned.
func (n *Neighbours) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { n.finder.run(ctx) })
	running.Go(func() { n.courier.run(ctx) })
	<-ctx.Done()
	return context.Cause(ctx)
}

// NetworkChanged says that addresses of this host have changed.
func (n *Neighbours) NetworkChanged() { n.finder.networkChanged() }

// IsPacket reports whether a packet that came to the path socket is for
// [Neighbours.Deliver].
func IsPacket(packet []byte) bool {
	return len(packet) > 0 && (packet[0] == typeLetter || packet[0] == typeAck || packet[0] == typeChallenge)
}

// Deliver takes a packet that came to the path socket from an address. It borrows packet
// and never blocks.
func (n *Neighbours) Deliver(packet []byte, from netip.AddrPort) { n.courier.deliver(packet, from) }

// Send seals and delivers a message of at most [MaxMessage] bytes that nobody else can
// guess, and returns where the peer is. If at is valid it is there; else it is looked for,
// which takes a second if it is not there. Two seconds after its beginning Send has failed,
// with [ErrNobody] or [ErrSilent]; or with the cause of ctx.
func (n *Neighbours) Send(ctx context.Context, to signal.PeerID, message []byte, at netip.AddrPort) (netip.AddrPort, error) {
	places := make(chan netip.AddrPort, maxPlaces)
	if at.IsValid() {
		places <- at
		close(places)
		return n.courier.send(ctx, to, message, places)
	}
	var finding sync.WaitGroup
	defer finding.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finding.Go(func() {
		defer close(places)
		n.finder.find(ctx, to, func(at netip.AddrPort) { places <- at }) // there is room for all
	})
	return n.courier.send(ctx, to, message, places)
}
