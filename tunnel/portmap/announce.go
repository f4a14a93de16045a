package portmap

import (
	"context"
	"net"
	"time"
)

// announcePort is where routers tell all hosts, at 224.0.0.1, that they have restarted or
// have another address (RFC 6886 section 3.2.1, RFC 6887 section 14.1).
const announcePort = 5350

// announcePause is how often something is done about announcements: routers repeat them, and
// others may forge them.
const announcePause = time.Second

// hear calls heard when the router announces something, until ctx is done. It is an
// improvement only: where the system does not let it listen, it returns at once.
func hear(ctx context.Context, r router, heard func()) {
	device, err := net.InterfaceByName(r.device)
	if err != nil {
		return
	}
	conn, err := net.ListenMulticastUDP("udp4", device, &net.UDPAddr{IP: net.IPv4allsys, Port: announcePort})
	if err != nil {
		return
	}
	defer conn.Close()
	defer wakeWhenDone(ctx, conn)()
	packet := make([]byte, pcpMax+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		if from.Addr().Unmap() == r.gateway.Addr() && isAnnouncement(packet[:n]) {
			heard()
		}
	}
}

// isAnnouncement reports whether a packet is what routers send unasked: an answer.
func isAnnouncement(packet []byte) bool {
	if r, err := parsePCP(packet); err == nil && r.opcode == pcpAnnounce {
		return true
	}
	r, err := parseNATPMP(packet)
	return err == nil && r.opcode == natpmpAddress
}
