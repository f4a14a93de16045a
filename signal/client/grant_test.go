package client_test

import (
	"net"
	"testing"
	"time"

	"peerway/signal/relay"
)

// Two peers who may talk are granted the relay on UDP, where their packets meet; with
// others they are not.
func TestGrants(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	stranger := newPeer(t, s.url, "stranger").run()
	stranger.want("connected", nil)
	const session = 0xfeedbeefcafe
	stranger.Bind(1, b.id()) // asked first, answered never
	conns, ends := make([]*net.UDPConn, 2), map[uint8]int{}
	for i, p := range []*testPeer{a, b} {
		other := []*testPeer{b, a}[i]
		if err := p.Bind(session, other.id()); err != nil {
			t.Fatal(err)
		}
		e := p.want("granted", nil)
		if e.session != session || len(e.places) != 1 {
			t.Fatalf("Granted(%x, %v)", e.session, e.places)
		}
		place := e.places[0]
		left := time.Until(time.Unix(int64(place.Until), 0))
		if left < time.Minute || left > time.Hour {
			t.Errorf("a grant for %v", left)
		}
		ends[place.End]++
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(place.Addr))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
		binding, in := relay.NewBinding(place.Grant), make([]byte, 1500)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		for !binding.Bound() {
			conn.Write(binding.Tick(time.Now()))
			n, err := conn.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			binding.Hear(time.Now(), in[:n])
		}
	}
	if ends[0] != 1 || ends[1] != 1 {
		t.Errorf("grants for ends %v", ends)
	}
	packet := append(relay.AppendHeader(nil, session), "hello"...)
	conns[0].Write(packet)
	in := make([]byte, 1500)
	if n, err := conns[1].Read(in); err != nil || string(in[:n]) != string(packet) {
		t.Errorf("the other end got %x, %v", in[:n], err)
	}
	select {
	case e := <-stranger.events:
		if e.kind == "granted" {
			t.Errorf("a stranger was granted %v", e.places)
		}
	default:
	}
}
