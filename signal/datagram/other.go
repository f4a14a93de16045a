//go:build !linux

package datagram

import (
	"net"
	"net/netip"
)

const controlSpace = 0

// ParseControl finds nothing: there are no batches here, and no marks.
func ParseControl([]byte) Control { return Control{} }

// Append appends nothing.
func (c Control) Append(b []byte, _ bool) []byte { return b }

// PutECN writes nothing.
func PutECN([]byte, byte) int { return 0 }

// A Receiver reads packets one at a time.
type Receiver struct {
	conn   *net.UDPConn
	buffer [2048]byte
	one    [1]Datagram
}

// NewReceiver returns a Receiver for conn, which it borrows.
func NewReceiver(conn *net.UDPConn) (*Receiver, error) { return &Receiver{conn: conn}, nil }

// Receive returns the next packet, valid until the next call. It returns nothing if
// wait reports false, for it cannot look without waiting.
func (r *Receiver) Receive(wait func() bool) ([]Datagram, error) {
	if !wait() {
		return nil, nil
	}
	n, from, err := r.conn.ReadFromUDPAddrPort(r.buffer[:])
	if err != nil {
		return nil, err
	}
	r.one[0] = Datagram{Data: r.buffer[:n], From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
	return r.one[:], nil
}

// Prepare does nothing: there are no such options here.
func Prepare(*net.UDPConn) {}

// TellLocal does nothing.
func TellLocal(*net.UDPConn) {}

func appendSource(b []byte, _ netip.Addr) []byte { return b }
