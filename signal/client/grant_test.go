package client_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/relay"
	"peerway/signal/server"
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

// TestGrantsAfterARestart: a server that has forgotten everything and would choose other
// relays now grants a session those that it has.
func TestGrantsAfterARestart(t *testing.T) {
	var urls []signal.RelayURL
	for range 4 {
		urls = append(urls, runRelay(t))
	}
	s := newServer(t, func(cfg *server.Config) { cfg.Relays, cfg.Capacity = urls, -1 })
	s.waitRelays()
	a, b := pairOfPeers(t, s)
	const session = 7
	granted := func(p, other *testPeer) (relays []netip.AddrPort) {
		t.Helper()
		p.Bind(session, other.id())
		for _, place := range p.want("granted", nil).places {
			relays = append(relays, place.Addr)
		}
		return relays
	}
	before := granted(a, b)
	if other := granted(b, a); len(before) != 3 || !slices.Equal(other, before) {
		t.Fatalf("one end was granted %v, the other %v", before, other)
	}
	s.stop()
	slices.Reverse(urls) // which come first now
	s.start()
	s.waitRelays()
	for _, p := range []*testPeer{a, b} {
		p.want("connected", nil)
	}
	a.wantOnline(b, true)
	b.wantOnline(a, true)
	for i, got := range [][]netip.AddrPort{granted(b, a), granted(a, b)} {
		if !slices.Equal(got, before) {
			t.Errorf("after a restart end %d was granted %v, want %v", i, got, before)
		}
	}
}

// TestOtherAddress: a peer that knows its server by an IPv4 address is told that of IPv6,
// and that it may be the way to the relay.
func TestOtherAddress(t *testing.T) {
	addrs := func() []netip.Addr {
		return []netip.Addr{netip.IPv6LinkLocalAllNodes(), netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("203.0.113.1"),
			netip.MustParseAddr("fd00::1"), netip.MustParseAddr("2001:db8::1")}
	}
	s := newServer(t, func(cfg *server.Config) { cfg.Addresses = addrs })
	a := newPeer(t, s.url, "home").run()
	want := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), s.Addr().Port())
	if info := a.want("connected", nil).info; info.Other != want || info.Server != s.Addr() {
		t.Errorf("Connected(%+v), want %v as the other address", info, want)
	}
	b := newPeer(t, s.url, "laptop").run()
	b.want("connected", nil)
	introduce(a, b)
	a.Bind(7, b.id())
	if places := a.want("granted", nil).places; len(places) != 1 || places[0].Addr != s.Addr() || places[0].Other != want {
		t.Errorf("Granted(%+v)", places)
	}
}

// TestGrantsByTheClockOfTheRelay: a relay that is two hours ahead, and expires grants by that.
func TestGrantsByTheClockOfTheRelay(t *testing.T) {
	const ahead = 2 * time.Hour
	key := relay.NewKey([]byte("ahead"))
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	serving.Go(func() {
		for in := make([]byte, 1500); ; {
			n, from, err := conn.ReadFromUDPAddrPort(in)
			if err != nil {
				return
			}
			answer := slices.Clone(in[:n-16]) // see signal/relay/load.go
			answer[0]++
			binary.BigEndian.PutUint32(answer[len(answer)-4:], uint32(time.Now().Add(ahead).Unix()))
			mac := hmac.New(sha256.New, key[:])
			mac.Write(append([]byte("peerway relay load 1"), answer...))
			conn.WriteToUDPAddrPort(mac.Sum(answer)[:n], from)
		}
	})
	s := newServer(t, func(cfg *server.Config) {
		cfg.Relays, cfg.Capacity = []signal.RelayURL{{Addr: conn.LocalAddr().String(), Key: key}}, -1
	})
	s.waitRelays()
	a, b := pairOfPeers(t, s)
	a.Bind(7, b.id())
	places := a.want("granted", nil).places
	if left := time.Until(time.Unix(int64(places[0].Until), 0)) - ahead; left < time.Minute || left > time.Hour {
		t.Errorf("by the clock of the relay, the grant is good for %v", left)
	}
}

// runRelay runs a relay of its own until the test ends.
func runRelay(t *testing.T) signal.RelayURL {
	r, err := server.NewRelay(server.Config{Listen: "127.0.0.1:0", State: server.NewState()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-r.Ready()
	return r.URL("127.0.0.1")
}

// waitRelays waits until all relays have answered the server.
func (s *testServer) waitRelays() {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if !slices.ContainsFunc(s.Relays(), func(m *relay.Member) bool { return !m.Status(time.Now()).Well }) {
			return
		}
	}
	s.t.Fatal("a relay does not answer")
}
