package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setOptions keeps the kernel from queueing more than unsent bytes that it has not
// sent, so that a message does not wait behind megabytes of relay frames.
// Without it only latency suffers, so errors are of no interest.
func setOptions(conn net.Conn, unsent int, _ time.Duration) {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return
	}
	control.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}
