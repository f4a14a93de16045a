package pathsock

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"peerway/signal/datagram"
)

// Config says where a Socket listens and who takes what is not QUIC.
type Config struct {
	// Listen is the local address. Zero means every address of both families
	// and a port of the system's choice; where there is no IPv6, IPv4 alone.
	Listen netip.AddrPort

	// Other takes every packet whose first two bits are 00, from whomever it
	// came, but for those of a path in use: STUN, answers of relays, letters. It is
	// called from the goroutines that read the socket and its outlets, so it must
	// not block, and it borrows the packet until it returns. Nil drops them.
	Other func(packet []byte, from netip.AddrPort)

	// Log takes what happens to the socket, nothing per packet. Nil discards.
	Log *slog.Logger
}

// A Socket is a UDP socket for a QUIC transport (quic.Transport.Conn). One
// goroutine may read it; all other methods are safe for concurrent use.
type Socket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	other func([]byte, netip.AddrPort)
	log   *slog.Logger
	local *net.UDPAddr
	start time.Time // what the times of peers count from

	tables  tables
	outlets outlets
	wrapped sync.Pool // of *[datagram.MaxBatch]byte, for what goes to relays
	in      queue
	reader  reader

	deadlineMu sync.Mutex
	deadline   time.Time   // the caller's, while a wake-up may have replaced it
	parked     atomic.Bool // the reader waits for the kernel, or is about to
	strangers  atomic.Uint64
}

// Listen opens the socket. The caller closes it.
func Listen(cfg Config) (*Socket, error) {
	conn, err := open(cfg.Listen, net.ListenUDP)
	if err != nil {
		return nil, fmt.Errorf("pathsock: %w", err)
	}
	s, err := newSocket(conn, cfg)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("pathsock: %w", err)
	}
	return s, nil
}

// open listens on addr with listen, which is [net.ListenUDP] but in tests.
func open(addr netip.AddrPort, listen func(string, *net.UDPAddr) (*net.UDPConn, error)) (*net.UDPConn, error) {
	switch {
	case addr.Addr().Is4() || addr.Addr().Is4In6():
		return listen("udp4", net.UDPAddrFromAddrPort(unmap(addr)))
	case addr.IsValid() && !addr.Addr().IsUnspecified():
		return listen("udp6", net.UDPAddrFromAddrPort(addr))
	}
	wildcard := &net.UDPAddr{Port: int(addr.Port())}
	conn, err := listen("udp", wildcard)
	if err == nil {
		return conn, nil
	}
	conn, err4 := listen("udp4", wildcard)
	if err4 != nil {
		return nil, errors.Join(err, err4)
	}
	return conn, nil
}

// newSocket takes ownership of conn if it returns no error.
func newSocket(conn *net.UDPConn, cfg Config) (*Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Socket{
		conn:  conn,
		raw:   raw,
		other: cfg.Other,
		log:   log,
		start: time.Now(),
	}
	s.local = fictitious(localID, int(s.Port()))
	s.in.init()
	s.wrapped.New = func() any { return new([datagram.MaxBatch]byte) }
	s.reader.from = newReceiver(s)
	return s, nil
}

// Close closes the socket. Blocked and later reads and writes fail with
// [net.ErrClosed].
func (s *Socket) Close() error { return s.conn.Close() }

// Port returns the UDP port that the socket is bound to.
func (s *Socket) Port() uint16 {
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// LocalAddr returns a fictitious address with the real port. QUIC asks a
// socket whose address is a wildcard for the local address of every packet and
// sends its answers from there, which is wrong as soon as the path has changed.
func (s *Socket) LocalAddr() net.Addr { return s.local }

// WriteReal sends p to a real address, for ICE, STUN and relays; from this socket, also
// where there is an outlet.
func (s *Socket) WriteReal(p []byte, to netip.AddrPort) error {
	_, _, err := s.conn.WriteMsgUDPAddrPort(p, nil, unmap(to))
	return err
}

// SyscallConn gives QUIC the socket to set its options on.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return s.conn.SyscallConn() }

// SetReadBuffer sets the size of the kernel's receive buffer.
func (s *Socket) SetReadBuffer(bytes int) error { return s.conn.SetReadBuffer(bytes) }

// SetWriteBuffer sets the size of the kernel's send buffer.
func (s *Socket) SetWriteBuffer(bytes int) error { return s.conn.SetWriteBuffer(bytes) }

// SetDeadline bounds reads and writes.
func (s *Socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetWriteDeadline bounds writes.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// SetReadDeadline bounds reads.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	s.deadline = t
	return s.conn.SetReadDeadline(t)
}

// wake makes a reader that waits for the kernel look at the injected packets.
func (s *Socket) wake() {
	if !s.parked.CompareAndSwap(true, false) {
		return
	}
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	s.conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket only
}

// awoken takes back the deadline that wake set. It reports whether the
// caller's own deadline has passed.
func (s *Socket) awoken() (expired bool) {
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	s.conn.SetReadDeadline(s.deadline) // fails on a closed socket only
	return !s.deadline.IsZero() && !time.Now().Before(s.deadline)
}

// now returns the time as peers record it.
func (s *Socket) now() int64 { return int64(time.Since(s.start)) }

// unmap returns the form of an address in which it is compared and shown.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
