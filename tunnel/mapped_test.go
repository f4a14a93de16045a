package tunnel

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestBothVersions keeps servers and mapped addresses of IPv4 and IPv6 apart.
func TestBothVersions(t *testing.T) {
	four, six := netip.MustParseAddrPort("203.0.113.10:7443"), netip.MustParseAddrPort("[2001:db8::a]:7443")
	m := New(Config{})
	for _, test := range []struct {
		server, other netip.AddrPort
		want          []netip.AddrPort
		asks          bool // about the NAT
	}{
		{netip.AddrPort{}, netip.AddrPort{}, nil, true},
		{six, netip.AddrPort{}, []netip.AddrPort{six}, true},
		{six, four, []netip.AddrPort{four, six}, true},
		{six, four, []netip.AddrPort{four, six}, false},
		{four, six, []netip.AddrPort{four, six}, true},
		{four, netip.AddrPort{}, []netip.AddrPort{four}, true},
	} {
		m.Connected(test.server, test.other)
		asks := len(m.unsure) > 0
		for len(m.unsure) > 0 {
			<-m.unsure
		}
		m.nat.Hairpin = true // something is known
		if got := m.stunServers(); !slices.Equal(got, test.want) || asks != test.asks || m.stunServer() != test.server {
			t.Errorf("connected to %v, also at %v: asks %v, %v, want %v, %v", test.server, test.other, got, asks, test.want, test.asks)
		}
	}
	m.mappings = [2]mapping{{four, time.Now()}, {six, time.Now().Add(-2 * mappedFor)}}
	if got := m.lastMapped(); !slices.Equal(got, []netip.AddrPort{four}) {
		t.Errorf("offers %v, want %v", got, four)
	}
}

func TestServerIsNoPeer(t *testing.T) {
	m := New(Config{})
	m.Connected(netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("[2001:db8::1]:443"))
	for at, want := range map[string]bool{
		"192.0.2.1:443": true, "192.0.2.1:444": true, "[2001:db8::1]:444": true,
		"192.0.2.1:445": false, "192.0.2.2:443": false, "[2001:db8::2]:443": false,
	} {
		if got := m.isServer(netip.MustParseAddrPort(at)); got != want {
			t.Errorf("isServer(%s) = %v", at, got)
		}
	}
}
