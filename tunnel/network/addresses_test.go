package network

import (
	"net/netip"
	"slices"
	"testing"
)

func addrs(list ...string) (addrs []netip.Addr) {
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func TestRank(t *testing.T) {
	interfaces := []device{
		{"lo", true, addrs("127.0.0.1", "::1")},
		{"docker0", true, addrs("172.17.0.1")},
		{"br-12ab", true, addrs("172.18.0.1")},
		{"veth7", true, addrs("172.19.0.1")},
		{"vEthernet (WSL)", true, addrs("172.20.0.1")},
		{"tailscale0", true, addrs("100.64.0.1")},
		{"eth1", true, addrs("10.1.0.1")},
		{"eth2", false, addrs("10.2.0.1")},
		{"eth0", true, addrs("192.168.1.2", "192.168.1.3", "fd00::2", "fe80::1", "2001:db8::1", "2001:db8::2", "2001:db8::3")},
	}
	unfit := addrs("2001:db8::1")
	got := rank(interfaces, unfit, netip.MustParseAddr("192.168.1.3"), netip.MustParseAddr("2001:db8::2"))
	want := addrs("192.168.1.3", "2001:db8::2", "192.168.1.2", "fe80::1", "2001:db8::3", "10.1.0.1", "fd00::2", "100.64.0.1", "2001:db8::1", "127.0.0.1", "::1")
	if !slices.Equal(got, want) {
		t.Errorf("rank() = %v, want %v", got, want)
	}
	// The bridge is the way out, as on a host of virtual machines.
	got = rank(interfaces[:4], nil, netip.MustParseAddr("172.18.0.1"), netip.Addr{})
	if want := addrs("172.18.0.1", "127.0.0.1", "::1"); !slices.Equal(got, want) {
		t.Errorf("rank() = %v, want %v", got, want)
	}
}
