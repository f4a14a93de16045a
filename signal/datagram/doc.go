// Package datagram reads and writes UDP packets many at a time, where the system can:
// the kernel joins packets of one source and one size when they arrive (GRO), and
// cuts a batch into packets when it leaves (GSO). A system call costs more than the
// packet that it is for.
//
// # Ownership
//
// The package holds nothing but memory, and borrows its connections.
package datagram

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// A Datagram is what the kernel gave in one piece: one packet, or several of one size
// from one source, the last of which may be shorter.
type Datagram struct {
	Data    []byte
	From    netip.AddrPort
	Local   netip.Addr // of this host, that it was sent to; invalid: see [TellLocal]
	Segment int        // size of a packet; 0 means that Data is one
	ECN     byte       // the two bits (RFC 3168)
}

// Cut takes the first packet off d.
func (d *Datagram) Cut() (packet []byte) {
	n := len(d.Data)
	if d.Segment > 0 {
		n = min(n, d.Segment)
	}
	packet, d.Data = d.Data[:n:n], d.Data[n:]
	return packet
}

// First returns the first packet of d, which stays there.
func (d *Datagram) First() []byte {
	if d.Segment > 0 && d.Segment < len(d.Data) {
		return d.Data[:d.Segment]
	}
	return d.Data
}

// Control is what goes with a batch beside its packets, in control messages.
type Control struct {
	Segment int  // size of a packet in the batch; 0 means it is one packet
	ECN     byte // the two bits
}

// Count returns how many packets are in a batch of so many bytes.
func (c Control) Count(bytes int) int {
	if c.Segment <= 0 {
		return 1
	}
	return (bytes + c.Segment - 1) / c.Segment
}

// Send sends a batch with one system call. It does not block for long.
func Send(conn *net.UDPConn, batch []byte, c Control, to netip.AddrPort) error {
	return SendFrom(conn, batch, c, netip.Addr{}, to)
}

// SendFrom is [Send] from one of the addresses of this host, as [Datagram.Local] is; where
// it is not valid, or systems cannot be told, the system chooses.
func SendFrom(conn *net.UDPConn, batch []byte, c Control, from netip.Addr, to netip.AddrPort) error {
	var space [controlSpace]byte
	oob := appendSource(c.Append(space[:0], to.Addr().Is4()), from)
	_, _, err := conn.WriteMsgUDPAddrPort(batch, oob, to)
	return err
}

// Refused reports whether an error of [Send] can mean that a packet would be taken where
// a batch is not: EIO without checksum offload, EINVAL on some virtual devices and where
// a packet of the batch is larger than the MTU.
func Refused(err error) bool { return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EINVAL) }

// The kernel takes so much in one call: UDP_MAX_SEGMENTS, and the largest UDP payload
// of both IPv4 and IPv6.
const (
	MaxSegments = 64
	MaxBatch    = 65535 - 8 - 40
)
