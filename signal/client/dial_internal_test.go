package client

import (
	"net"
	"net/netip"
	"testing"

	"peerway/signal/internal/wire"
)

// endpoint is a connection of which only the other end's address is asked.
type endpoint struct {
	net.Conn
	remote string
}

func (e endpoint) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(e.remote))
}

func TestServers(t *testing.T) {
	const (
		four     = "203.0.113.10:7443"
		six      = "[2001:db8::a]:7443"
		otherSix = "[2001:db8::b]:7443"
	)
	for _, test := range []struct {
		remote        string // empty: a proxy is in between
		known         []string
		server, other string
	}{
		{four, nil, four, ""},
		{four, []string{four}, four, ""},
		{four, []string{six, otherSix, four}, four, six},
		{"[::ffff:203.0.113.10]:7443", []string{four, six}, four, six},
		{six, []string{otherSix, four, six}, six, four},
		{"", []string{six, four}, six, four},
		{"", nil, "", ""},
	} {
		var known []netip.AddrPort
		for _, addr := range test.known {
			known = append(known, netip.MustParseAddrPort(addr))
		}
		server, other := servers(endpoint{remote: test.remote}, test.remote != "", known)
		text := func(addr netip.AddrPort) string {
			if !addr.IsValid() {
				return ""
			}
			return addr.String()
		}
		if text(server) != test.server || text(other) != test.other {
			t.Errorf("connected to %q, known %v: %q and %q, want %q and %q", test.remote, test.known, text(server), text(other), test.server, test.other)
		}
	}
}

// A place at a relay has both addresses that the relay has, first the one of the version of
// IP that led to the server.
func TestPlacesOfBothVersions(t *testing.T) {
	const four, six, relay4, relay6 = "203.0.113.10:7443", "[2001:db8::a]:7443", "203.0.113.20:1", "[2001:db8::b]:1"
	addr := func(text string) netip.AddrPort { a, _ := netip.ParseAddrPort(text); return a }
	for _, test := range []struct {
		server, other string
		grant         wire.Grant
		want, second  string
	}{
		{four, six, wire.Grant{}, four, six},
		{six, "", wire.Grant{}, six, ""},
		{four, six, wire.Grant{Addr: relay4, Addr6: relay6}, relay4, relay6},
		{six, four, wire.Grant{Addr: relay4, Addr6: relay6}, relay6, relay4},
		{six, "", wire.Grant{Addr: relay4}, relay4, ""},
		{four, "", wire.Grant{Addr6: relay6}, relay6, ""},
		{four, six, wire.Grant{Addr: "nonsense", Addr6: relay6}, relay6, ""},
		{four, six, wire.Grant{Addr: relay4, Addr6: "[ff02::1]:1"}, relay4, ""},
	} {
		s := &session{connection: &connection{server: addr(test.server), other: addr(test.other)}}
		test.grant.Secret = make([]byte, 32)
		places := s.places(wire.Grants{Grants: []wire.Grant{test.grant}})
		if len(places) != 1 || places[0].Addr != addr(test.want) || places[0].Other != addr(test.second) {
			t.Errorf("at %s, grant %+v: %+v, want %s and %s", test.server, test.grant, places, test.want, test.second)
		}
	}
}

func TestHomeless(t *testing.T) {
	for local, want := range map[string]bool{"127.0.0.1": false, "192.0.2.1": true, "2001:db8::1": true} {
		c := connection{local: netip.MustParseAddr(local)}
		if got := c.homeless(); got != want {
			t.Errorf("without %s: %v, want %v", local, got, want)
		}
	}
	if new(connection).homeless() {
		t.Error("a connection that is none of IP has lost its address")
	}
}
