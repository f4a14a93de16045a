package punch

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"peerway/signal"
)

const (
	// queueSize bounds the packets that wait for the ICE library, per address
	// family. They wait in earnest only before Connect, when the peer is
	// already asking.
	queueSize = 32

	// answerLife is how long an answer is waited for. The ICE library forgets
	// its requests after the same time.
	answerLife = 4 * time.Second

	// maxOpen bounds the requests of an attempt that wait for an answer: its
	// addresses, asked 20 times a second, for answerLife.
	maxOpen = (maxSignalled + maxHeard) * 20 * 4
)

// A port is the share of a socket that one attempt has: an [ice.UDPMux] for a
// single agent. Its mutable fields are guarded by the Puncher's mutex.
type port struct {
	puncher     *Puncher
	ufrag       string
	key         []byte // the local password: peers sign requests with it
	controlling bool
	peer        signal.PeerID
	write       func(p []byte, to netip.AddrPort) error // from the socket
	via         atomic.Pointer[detour]                  // for one address; nil: there is none
	number      uint16                                  // of its local port
	listen      []net.Addr

	remoteKey []byte // the peer's password: it signs answers with it
	closed    bool
	links     [2]*link // IPv4, IPv6
	remotes   map[netip.AddrPort]*remote
	open      []openRequest // oldest first
	seen      tally
}

type openRequest struct {
	id     transactionID
	sentAt time.Time
}

// A tally is what an attempt has seen, to tell a person why it found no path.
type tally struct {
	sent      int // requests sent
	heard     int // authentic requests of the peer
	answered  int // authentic answers of the peer
	conflicts int // requests of a peer that took the same role
	remotes   int // addresses of the peer, signalled or heard from
}

// GetListenAddresses implements [ice.UDPMux]: one wildcard per family. The
// socket is one, so more local addresses would only multiply the pairs.
func (p *port) GetListenAddresses() []net.Addr { return p.listen }

// GetConn implements [ice.UDPMux].
func (p *port) GetConn(ufrag string, local net.Addr) (net.PacketConn, error) {
	addr, ok := local.(*net.UDPAddr)
	if !ok || ufrag != p.ufrag {
		return nil, net.ErrClosed
	}
	p.puncher.mu.Lock()
	defer p.puncher.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	family := familyOf(addr.AddrPort().Addr().Unmap())
	if p.links[family] == nil {
		p.links[family] = &link{
			port: p, local: addr,
			queue: make(chan datagram, queueSize),
			done:  make(chan struct{}),
		}
	}
	return p.links[family], nil
}

// RemoveConnByUfrag implements [ice.UDPMux]. The library also calls it for the
// name that it had before it got one.
func (p *port) RemoveConnByUfrag(ufrag string) {
	if ufrag == p.ufrag {
		p.Close()
	}
}

// Close implements [ice.UDPMux]: from now on nothing is sent or delivered. It
// may be called again.
func (p *port) Close() error {
	p.puncher.mu.Lock()
	defer p.puncher.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	delete(p.puncher.attempts, p.ufrag)
	for _, r := range p.open {
		delete(p.puncher.exchange, r.id)
	}
	p.open = nil
	for _, l := range p.links {
		if l != nil {
			close(l.done)
		}
	}
	return nil
}

// receiveRequest queues an authentic check of the peer.
func (p *port) receiveRequest(m message, from netip.AddrPort) {
	now := time.Now()
	p.puncher.mu.Lock()
	p.seen.heard++
	if m.controlling == p.controlling {
		p.seen.conflicts++
	}
	l := p.links[familyOf(from.Addr())]
	ok := !p.closed && l != nil && usable(from) && p.hears(from, now)
	p.puncher.mu.Unlock()
	if ok {
		l.push(m.raw, from)
	}
}

// receiveAnswer queues an authentic answer to a check and takes its time.
func (p *port) receiveAnswer(m message, from netip.AddrPort) {
	now := time.Now()
	p.puncher.mu.Lock()
	x, ok := p.puncher.exchange[m.id]
	l := p.links[familyOf(from.Addr())]
	if !ok || p.closed || l == nil { // answered twice at the same time, or closed meanwhile
		p.puncher.mu.Unlock()
		return
	}
	delete(p.puncher.exchange, m.id)
	p.seen.answered++
	if r := p.remotes[from]; r != nil {
		r.measure(now.Sub(x.sentAt))
		r.heardAt = now
	}
	p.puncher.mu.Unlock()
	l.push(m.raw, from)
}

// A detour is another socket that packets to an address leave by.
type detour struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

// send sends from the socket by which an address is reached.
func (p *port) send(b []byte, to netip.AddrPort) error {
	if d := p.via.Load(); d != nil && d.to == to {
		_, err := d.conn.WriteToUDPAddrPort(b, to)
		return err
	}
	return p.write(b, to)
}

// errPaced is why a check is not sent: there were enough of them.
var errPaced = errors.New("enough checks were sent")

// opens takes note of a request that is about to be sent.
func (p *port) opens(id transactionID, to netip.AddrPort) error {
	now := time.Now()
	p.puncher.mu.Lock()
	defer p.puncher.mu.Unlock()
	if p.closed {
		return io.ErrClosedPipe
	}
	if !p.asks(to, now) {
		return errPaced
	}
	stale := 0
	for stale < len(p.open) && (now.Sub(p.open[stale].sentAt) > answerLife || len(p.open)-stale >= maxOpen) {
		delete(p.puncher.exchange, p.open[stale].id)
		stale++
	}
	p.open = append(p.open[stale:], openRequest{id, now})
	p.puncher.exchange[id] = exchange{to: to, sentAt: now, port: p}
	p.seen.sent++
	return nil
}

// rtt returns the round trip time to addr, or 0 if that is not known.
func (p *port) rtt(addr netip.AddrPort) time.Duration {
	p.puncher.mu.Lock()
	defer p.puncher.mu.Unlock()
	if r := p.remotes[addr]; r != nil {
		return r.rtt
	}
	return 0
}

func (p *port) tally() tally {
	p.puncher.mu.Lock()
	defer p.puncher.mu.Unlock()
	t := p.seen
	t.remotes = len(p.remotes)
	return t
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

type datagram struct {
	packet []byte
	from   netip.AddrPort
}

// A link is the port's side of one address family: the [net.PacketConn] that
// the ICE library reads and writes.
type link struct {
	port  *port
	local net.Addr
	queue chan datagram
	done  chan struct{}
	mu    sync.Mutex // one push at a time
}

// push queues a copy of packet. When the queue is full the oldest makes room:
// its sender has asked again since.
func (l *link) push(packet []byte, from netip.AddrPort) {
	d := datagram{append([]byte(nil), packet...), from}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		select {
		case l.queue <- d:
			return
		default:
		}
		select {
		case <-l.queue:
		default:
		}
	}
}

// ReadFrom implements [net.PacketConn].
func (l *link) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-l.done:
		return 0, nil, io.EOF // also if packets are queued: nobody wants them
	default:
	}
	select {
	case d := <-l.queue:
		return copy(b, d.packet), net.UDPAddrFromAddrPort(d.from), nil
	case <-l.done:
		return 0, nil, io.EOF
	}
}

// WriteTo implements [net.PacketConn].
func (l *link) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	to := unmap(udp.AddrPort())
	m, err := parse(b)
	if err != nil {
		return 0, err
	}
	if m.class == classRequest {
		switch err := l.port.opens(m.id, to); {
		case errors.Is(err, errPaced):
			return len(b), nil // as if it were lost
		case err != nil:
			return 0, err
		}
	}
	select {
	case <-l.done:
		return 0, io.ErrClosedPipe
	default:
	}
	if err := l.port.send(b, to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements [net.PacketConn]. The other family goes with it: the library
// closes both, in one go.
func (l *link) Close() error { return l.port.Close() }

// LocalAddr implements [net.PacketConn].
func (l *link) LocalAddr() net.Addr { return l.local }

// SetDeadline implements [net.PacketConn]. The library sets one to unblock
// ReadFrom right before it calls Close, which does that.
func (l *link) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.PacketConn].
func (l *link) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.PacketConn].
func (l *link) SetWriteDeadline(time.Time) error { return nil }
