package lan

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	port = 5353 // RFC 6762 section 3
	hops = 255  // RFC 6762 section 11
)

func group4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 251}) }

func group6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb}) }

// A channel is the multicast socket of one family of addresses. Other programs of this
// host may have the same port open: all of them receive what is sent to the group.
type channel struct {
	conn *net.UDPConn
	v4   *ipv4.PacketConn // nil: IPv6

	mu sync.Mutex // while the interface of v4 is chosen
}

// openChannel opens a channel for some links. The caller closes conn.
func openChannel(ctx context.Context, group netip.Addr, on links) (*channel, error) {
	family := "udp6"
	if group.Is4() {
		family = "udp4"
	}
	// Listening on a group's address makes net share the port, and bind to any address.
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, family, netip.AddrPortFrom(group, port).String())
	if err != nil {
		return nil, err
	}
	c := &channel{conn: pc.(*net.UDPConn)}
	if err := c.join(group, on); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

// join joins the group on all links. One that works is enough.
func (c *channel) join(group netip.Addr, on links) error {
	at := &net.UDPAddr{IP: group.AsSlice()}
	join := func(l *link) error { return ipv6.NewPacketConn(c.conn).JoinGroup(&l.device, at) }
	if group.Is4() {
		c.v4 = ipv4.NewPacketConn(c.conn)
		c.v4.SetMulticastTTL(hops) // some systems have no such setting
		join = func(l *link) error { return c.v4.JoinGroup(&l.device, at) }
	} else {
		ipv6.NewPacketConn(c.conn).SetMulticastHopLimit(hops)
	}
	var errs []error
	for i := range on {
		if err := join(&on[i]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(on) {
		return errors.Join(errs...)
	}
	return nil
}

// say sends a packet to all on a link. An error is a lost packet.
func (c *channel) say(l *link, packet []byte) {
	if c.v4 == nil {
		c.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(group6().WithZone(l.zone()), port))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.v4.SetMulticastInterface(&l.device) == nil {
		c.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(group4(), port))
	}
}

// maxFaults is how many errors in a row say that a socket is broken.
const maxFaults = 16

// read calls take for each packet until the channel is closed or breaks. take borrows the
// packet.
func (c *channel) read(take func(packet []byte, from netip.AddrPort)) error {
	buffer := make([]byte, maxDNS)
	for faults := 0; ; {
		n, from, err := c.conn.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			faults = 0
			take(buffer[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		case errors.Is(err, net.ErrClosed):
			return err
		default: // such as what some systems say of an earlier packet
			if faults++; faults == maxFaults {
				return err
			}
		}
	}
}
