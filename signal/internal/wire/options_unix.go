//go:build linux || darwin

package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setOptions keeps the kernel from queueing more than unsent bytes that it has not
// sent, so that a message does not wait behind megabytes of relay frames, and from
// waiting for more than retry before it sends again what was not acknowledged: after
// a failure of the network it would otherwise notice many seconds late that it is
// back. Without them only latency suffers, so errors are of no interest.
func setOptions(conn net.Conn, unsent int, retry time.Duration) {
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
		limitRetry(int(fd), retry)
	})
}
