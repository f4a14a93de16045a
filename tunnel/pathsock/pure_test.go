package pathsock

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"

	"peerway/signal/datagram"
)

func TestFictitious(t *testing.T) {
	for _, id := range []uint64{1, 2, 1 << 40, 1<<64 - 1} {
		addr := fictitious(id, 1)
		if got, ok := fictitiousID(addr); got != id || !ok {
			t.Errorf("id of %v is %d, %v; want %d", addr, got, ok, id)
		}
		if addr.IP.To4() != nil {
			t.Errorf("%v passes for IPv4", addr)
		}
	}
	for _, addr := range []*net.UDPAddr{
		nil, {}, {IP: net.IPv4(100, 0, 0, 1)}, {IP: net.ParseIP("100:0:0:1::1")}, {IP: net.ParseIP("2001:db8::1")},
	} {
		if id, ok := fictitiousID(addr); ok {
			t.Errorf("%v passes for the address of peer %d", addr, id)
		}
	}
}

// TestOpenWithoutIPv6 refuses every socket but one of IPv4, as a system does
// that was built without IPv6.
func TestOpenWithoutIPv6(t *testing.T) {
	refusal := errors.New("address family not supported")
	conn, err := open(netip.AddrPort{}, func(network string, addr *net.UDPAddr) (*net.UDPConn, error) {
		if network != "udp4" {
			return nil, refusal
		}
		return net.ListenUDP(network, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSocket(conn, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	source := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port())
	p := s.Add(nil, 1)
	p.Authenticate(netip.AddrPortFrom(netip.AddrFrom16(source.Addr().As16()), source.Port())) // mapped
	p.SetRoute(Route{Direct: source})
	if _, err := s.WriteTo([]byte{0x40, 7}, p.Addr()); err != nil { // to itself
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, from, err := s.ReadFrom(b); n != 2 || from != net.Addr(p.Addr()) || err != nil {
		t.Errorf("read %x from %v, %v; want the packet from %v", b[:n], from, err, p.Addr())
	}

	_, err = open(netip.AddrPort{}, func(string, *net.UDPAddr) (*net.UDPConn, error) { return nil, refusal })
	if !errors.Is(err, refusal) {
		t.Errorf("with no family at all: %v, want %v", err, refusal)
	}
}

// Packets that a relay sends may be shorter than its header, also where the kernel has
// joined them to something that is not.
func TestRunts(t *testing.T) {
	s := new(Socket)
	s.in.init()
	p := s.Add(nil, 0x0707070707070707)
	relay := netip.MustParseAddrPort("192.0.2.9:7443")
	p.Accept(relay)
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}}
	for segment := range 30 {
		for size := range 60 {
			joined := bytes.Repeat([]byte{7}, size)
			s.account([]datagram.Datagram{{Data: joined, From: relay, Segment: segment}})
			for len(s.reader.received) > 0 {
				s.handOverReceived(ms)
			}
		}
	}
}
