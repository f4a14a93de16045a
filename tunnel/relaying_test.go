package tunnel

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"peerway/signal/relay"
)

// A testRelay is a relay on UDP on this machine.
type testRelay struct {
	relay.Key
	addr netip.AddrPort
}

// runRelay runs a relay until the test ends.
func runRelay(t *testing.T, name string) testRelay {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	key := relay.NewKey([]byte(name))
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { relay.NewServer(key, 1000).Serve(ctx, conn, nil) })
	t.Cleanup(func() { cancel(); serving.Wait(); conn.Close() })
	return testRelay{key, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// grantBoth tells both ends of a tunnel of relays that they may use.
func grantBoth(t *testing.T, a, b *end, relays ...testRelay) {
	t.Helper()
	id := a.up(t).id
	for i, e := range []*end{a, b} {
		var places []relay.Place
		for _, r := range relays {
			places = append(places, relay.Place{Addr: r.addr, Grant: r.Grant(id, uint8(i), 1, time.Now().Add(time.Minute), relay.Limits{})})
		}
		e.Granted(id, places)
	}
}

// waitRemote waits until both ends use a relay.
func waitRemote(t *testing.T, want netip.AddrPort, ends ...*end) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		there := 0
		for _, e := range ends {
			if up := e.Tunnels(); len(up) == 1 && up[0].Path == "relay-udp" && up[0].Remote == want {
				there++
			}
		}
		if there == len(ends) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("tunnels = %+v and %+v, want the relay %v", ends[0].Tunnels(), ends[1].Tunnels(), want)
		}
	}
}

// TestRelayIsKeptUntilAnotherIsUp: grants that do not name the relay in use do not take
// it away before there is another one.
func TestRelayIsKeptUntilAnotherIsUp(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	first, second := runRelay(t, "first"), runRelay(t, "second")
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	grantBoth(t, a, b, first)
	waitRemote(t, first.addr, a, b)

	grantBoth(t, a, b, testRelay{relay.Key{}, silent.LocalAddr().(*net.UDPAddr).AddrPort()})
	in := make([]byte, 1500)
	for range 6 { // requests of both ends, which have then looked at their places again
		if _, err := silent.Read(in); err != nil {
			t.Fatal(err)
		}
	}
	waitRemote(t, first.addr, a, b)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Error(err)
	}
	grantBoth(t, a, b, second)
	waitRemote(t, second.addr, a, b)
}

// TestRelayAtItsOtherAddress: an end that has no answer at one address of a relay uses the
// other one, and stays there when a grant names them the other way round.
func TestRelayAtItsOtherAddress(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	defer silent.Close()
	r, dead := runRelay(t, "relay"), silent.LocalAddr().(*net.UDPAddr).AddrPort()
	id := a.up(t).id
	grant := func(e *end, number uint8, addr, other netip.AddrPort) {
		e.Granted(id, []relay.Place{{Addr: addr, Other: other, Grant: r.Grant(id, number, 1, time.Now().Add(time.Minute), relay.Limits{})}})
	}
	grant(a, 0, dead, r.addr)
	grant(b, 1, r.addr, dead)
	waitRemote(t, r.addr, a, b)
	grant(a, 0, r.addr, dead)
	grant(b, 1, dead, r.addr)
	for range 20 { // asks the peer again and again, so that grants have been looked at
		if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		waitRemote(t, r.addr, a, b)
	}
}

// TestRelayIsRenumbered: a relay that is granted with one new address stays known by both
// versions of IP, and by the new address as soon as the old one is left.
func TestRelayIsRenumbered(t *testing.T) {
	addr := netip.MustParseAddrPort
	old, renumbered, other := addr("192.0.2.1:1"), addr("192.0.2.2:1"), addr("[2001:db8::1]:1")
	m := &mooring{addr: old}
	want := func(when string, addr, other netip.AddrPort) {
		t.Helper()
		if m.addr != addr || m.other != other {
			t.Errorf("%s: at %v, or %v; want %v, or %v", when, m.addr, m.other, addr, other)
		}
	}
	m.know(relay.Place{Addr: old, Other: other})
	want("at first", old, other)
	for _, place := range []relay.Place{{Addr: renumbered, Other: other}, {Addr: renumbered, Other: other}, {Addr: other, Other: renumbered}} {
		m.know(place)
		want("while the old address answers", old, other)
	}
	m.turn()
	want("when it does not", other, old)
	m.know(relay.Place{Addr: renumbered, Other: other})
	want("with the next grant", other, renumbered)
	m.know(relay.Place{Addr: other})
	want("without the new address", other, netip.AddrPort{})
}

// TestLateAnswerOfARelay: the address of a relay that answers is the one to go to, until the
// peer was found through it: then a late answer of the other one changes nothing.
func TestLateAnswerOfARelay(t *testing.T) {
	r, now := runRelay(t, "relay"), time.Now()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other := netip.MustParseAddrPort("[2001:db8::1]:1")
	m := &mooring{addr: r.addr, other: other, binding: relay.NewBinding(r.Grant(1, 0, 1, now.Add(time.Minute), relay.Limits{}))}
	in := make([]byte, 1500)
	answer := func(from netip.AddrPort) relayAnswer {
		t.Helper()
		m.binding.Hurry()
		if _, err := conn.Write(m.binding.Tick(now)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		return relayAnswer{bytes.Clone(in[:n]), from}
	}
	want := func(when string, at netip.AddrPort) {
		t.Helper()
		if m.addr != at {
			t.Errorf("%s: at %v, want %v", when, m.addr, at)
		}
	}
	if m.hear(now, relayAnswer{[]byte("no answer"), other}) {
		t.Error("what is no answer was taken for one")
	}
	want("after a forged answer", r.addr)
	if !m.hear(now, answer(other)) {
		t.Fatal("an answer was not taken")
	}
	want("when the other address answers", other)
	m.up = true
	now = now.Add(time.Minute / 2)
	if !m.hear(now, answer(r.addr)) {
		t.Fatal("a late answer was not taken")
	}
	want("after a late answer", other)
}

// TestHitch: each end says why it is on the websocket, until it is not.
func TestHitch(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dead := testRelay{relay.Key{}, silent.LocalAddr().(*net.UDPAddr).AddrPort()}
	r, id := runRelay(t, "relay"), a.up(t).id
	strange := testRelay{r.Key, runRelay(t, "another").addr} // it does not know the key, and is silent too
	grant := func(e *end, number uint8, relays ...testRelay) {
		var places []relay.Place
		for _, r := range relays {
			places = append(places, relay.Place{Addr: r.addr, Grant: r.Grant(id, number, 1, time.Now().Add(time.Minute), relay.Limits{})})
		}
		e.Granted(id, places)
	}
	want := func(what string, h Hitch) {
		t.Helper()
		eventually(t, what, func() bool {
			up := a.Tunnels()
			return len(up) == 1 && up[0].Hitch == h
		})
		if p, err := a.Ping(t.Context(), b.id); err != nil || p.Hitch != h {
			t.Errorf("%s: Ping() = %+v, %v", what, p, err)
		}
	}
	want("there is no relay", NoRelay)
	grant(a, 0, dead, strange)
	want("no relay answers", RelaysSilent)
	a.Granted(id, []relay.Place{{Addr: r.addr, Grant: r.Grant(id, 0, 1, time.Now().Add(-time.Minute), relay.Limits{})}})
	want("the relay takes no more", RelaysFull)
	grant(a, 0, dead, r)
	want("the peer is not heard through the relay", RelaysBlocked)
	grant(b, 1, r)
	waitRemote(t, r.addr, a, b)
	want("the relay is used", "")
}
