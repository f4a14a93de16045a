package pathsock

import (
	"errors"

	"golang.org/x/sys/unix"

	"peerway/signal/datagram"
)

// UsePlainReceiver makes s read as it does on systems without recvmmsg.
func UsePlainReceiver(s *Socket) {
	s.raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 0) })
	s.reader.from = newPlainReceiver(s)
}

// Segments returns the control message with which QUIC says that a batch of n
// packets is to be cut to a size; none for a single packet.
func Segments(n, size int) []byte {
	if n < 2 {
		return nil
	}
	return (datagram.Control{Segment: size}).Append(nil, false)
}

// ECN returns the control message with which QUIC marks a packet for an IPv6
// address; none for no mark.
func ECN(mark byte) []byte { return (datagram.Control{ECN: mark}).Append(nil, false) }

// ReportECN has the kernel tell the mark of every received packet.
func ReportECN(s *Socket) (err error) {
	s.raw.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1))
	})
	return err
}
