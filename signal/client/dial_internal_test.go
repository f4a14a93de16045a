package client

import (
	"net"
	"net/netip"
	"testing"
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
