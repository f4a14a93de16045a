package datagram

import (
	"net"

	"golang.org/x/sys/unix"
)

// Prepare asks the kernel to tell the ECN bits of what arrives on conn, and to cut
// nothing that leaves it into fragments. Without it a little is lost, so errors are of
// no interest.
func Prepare(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		for _, option := range [...][3]int{
			{unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
			{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
		} {
			unix.SetsockoptInt(int(fd), option[0], option[1], option[2])
		}
	})
}
