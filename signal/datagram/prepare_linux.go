package datagram

import (
	"net"

	"golang.org/x/sys/unix"
)

// Prepare asks the kernel to tell the ECN bits of what arrives on conn, and to cut
// nothing that leaves it into fragments. Without it a little is lost, so errors are of
// no interest.
func Prepare(conn *net.UDPConn) {
	set(conn,
		option{unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
		option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE})
}

// PreferLasting asks the kernel to send from the IPv6 address that stays, where it has
// temporary ones and prefers these: a server is known by the other, and what comes from
// elsewhere is no answer.
func PreferLasting(conn *net.UDPConn) {
	const preferPublic = 0x0002 // IPV6_PREFER_SRC_PUBLIC (RFC 5014)
	set(conn, option{unix.IPPROTO_IPV6, unix.IPV6_ADDR_PREFERENCES, preferPublic})
}

// An option is a level, a name and a value.
type option [3]int

func set(conn *net.UDPConn, options ...option) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		for _, o := range options {
			unix.SetsockoptInt(int(fd), o[0], o[1], o[2])
		}
	})
}
