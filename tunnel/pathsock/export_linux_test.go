package pathsock

import "golang.org/x/sys/unix"

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
	return appendControl(nil, control{segment: size}, false)
}
