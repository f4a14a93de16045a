package punch

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Config tells a [Puncher] about the socket and the host.
type Config struct {
	// Write sends one packet from the shared socket. It borrows p, must not
	// block, and is called from several goroutines, for as long as an Attempt
	// is open or Mapped runs. An error counts as a lost packet.
	Write func(p []byte, to netip.AddrPort) error

	// Port is the local port of the shared socket.
	Port uint16

	// Interfaces returns the addresses of this host, best first. Addresses that
	// no peer can use are left out of the result by the Puncher. Nil asks the
	// system, leaves out the bridges of containers and virtual machines, and
	// puts the interface of the default route first and tunnels last.
	Interfaces func() ([]netip.Addr, error)

	// AllowLoopback offers and accepts loopback addresses next to others.
	// Without it they are used only on a host that has no others.
	AllowLoopback bool

	// Adopt reaches an address by a socket other than the shared one, until ctx is done,
	// and then returns. It borrows the socket. Nil leaves out what needs it.
	Adopt func(ctx context.Context, conn *net.UDPConn, to netip.AddrPort)

	// Sparing leaves out what takes many packets.
	Sparing bool

	// Log receives the candidates of attempts at debug level. Nil discards.
	Log *slog.Logger
}

// A Puncher runs attempts and STUN requests on one socket. Its methods may be
// called from any goroutine. It holds nothing that must be closed.
type Puncher struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	exchange map[transactionID]exchange // requests sent and not answered yet
	attempts map[string]*port           // by the local user name fragment
	mapped   map[netip.AddrPort]mapping // by STUN server
	checks   checkers

	budget *budget // of attempts that open many sockets, or shoot at many ports
}

// An exchange is a request that waits for its answer.
type exchange struct {
	to     netip.AddrPort
	sentAt time.Time
	port   *port          // the attempt that asked; nil for the STUN client
	answer chan<- message // the STUN client's; holds one
}

// New returns a Puncher. It acquires nothing.
func New(config Config) *Puncher {
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Puncher{
		config:   config,
		log:      log,
		exchange: make(map[transactionID]exchange),
		attempts: make(map[string]*port),
		mapped:   make(map[netip.AddrPort]mapping),
		checks:   make(checkers),
		budget:   newBudget(),
	}
}

// Deliver takes a packet that the socket received and that looks like STUN.
// What is not valid, not expected or not authentic is dropped without an
// answer. It borrows packet and never blocks.
func (p *Puncher) Deliver(packet []byte, from netip.AddrPort) {
	m, err := parse(packet)
	if err != nil {
		return
	}
	from = unmap(from)
	if m.class == classRequest {
		p.deliverRequest(m, from)
		return
	}
	p.deliverAnswer(m, from)
}

// deliverRequest hands a peer's check to the attempt that it names.
func (p *Puncher) deliverRequest(m message, from netip.AddrPort) {
	local, _, ok := m.fragments()
	if !ok || !m.isCheck() {
		return
	}
	p.mu.Lock()
	port := p.attempts[string(local)]
	p.mu.Unlock()
	// Outside of the lock: nobody waits for the hash of a flood.
	if port != nil && m.signedWith(port.key) {
		port.receiveRequest(m, from)
	}
}

// deliverAnswer hands an answer to whoever asked.
func (p *Puncher) deliverAnswer(m message, from netip.AddrPort) {
	p.mu.Lock()
	x, ok := p.exchange[m.id]
	if !ok || x.to != from {
		p.mu.Unlock()
		return // not answered yet: whoever knows the id must also have the address
	}
	if x.port == nil {
		delete(p.exchange, m.id)
		p.mu.Unlock()
		x.answer <- m.clone()
		return
	}
	key := x.port.remoteKey
	p.mu.Unlock()
	if m.class == classSuccess && m.isAnswer() && m.signedWith(key) {
		x.port.receiveAnswer(m, from)
	}
}

// unmap makes IPv4 addresses comparable however the socket wrote them.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
