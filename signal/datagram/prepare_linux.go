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

// TellLocal asks the kernel to tell to which address of this host packets come. An answer
// from another one is none: neither who asked nor his NAT expects it.
func TellLocal(conn *net.UDPConn) {
	tell := option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1} // also on those of IPv4, if it takes both
	if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok && addr.IP.To4() != nil {
		tell = option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}
	}
	set(conn, tell)
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
