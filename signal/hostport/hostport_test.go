package hostport_test

import (
	"net/netip"
	"slices"
	"testing"

	"peerway/signal/hostport"
)

func TestResolve(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:7443": "192.0.2.1:7443", "[2001:db8::1]:1": "[2001:db8::1]:1", "[::ffff:192.0.2.1]:443": "192.0.2.1:443",
	} {
		if got, err := hostport.Resolve(t.Context(), text); err != nil || !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort(want)}) {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
	got, err := hostport.Resolve(t.Context(), "localhost:7443") // from the system's own table
	if err != nil || len(got) == 0 || !got[0].Addr().IsLoopback() || got[0].Addr().Is4In6() || got[0].Port() != 7443 {
		t.Errorf("localhost is %v, %v", got, err)
	}
	for _, bad := range []string{"", "localhost", "localhost:", "localhost:65536", "localhost:http", "1.2.3.4", ":::1"} {
		if got, err := hostport.Resolve(t.Context(), bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"0.1.2.3": false, "1.1.1.1": true, "10.0.0.1": false, "100.63.0.1": true, "100.64.0.1": false, "100.128.0.1": true,
		"127.0.0.1": false, "169.254.1.1": false, "172.16.0.1": false, "192.0.0.1": false, "192.88.99.1": false,
		"192.168.0.1": false, "198.18.0.1": false, "198.19.0.1": false, "198.20.0.1": true, "203.0.113.10": true,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "64:ff9b::1": false, "200::1": false, "2001::1": false, "2001:200::1": true,
		"2001:db8::a": true, "2002::1": false, "2a00::1": true, "fd00::1": false, "fe80::1": false, "ff02::1": false,
	} {
		if got := hostport.IsPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v, want %v", text, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	addr := netip.MustParseAddrPort
	a, b, c, d := addr("[2001:db8::1]:1"), addr("192.0.2.1:1"), addr("192.0.2.2:1"), addr("[2001:db8::2]:1")
	if ip4, ip6 := hostport.Split([]netip.AddrPort{a, b, c, d}); ip4 != b || ip6 != a {
		t.Errorf("the first are %v and %v, want %v and %v", ip4, ip6, b, a)
	}
	if ip4, ip6 := hostport.Split(nil); ip4.IsValid() || ip6.IsValid() {
		t.Errorf("of nothing the first are %v and %v", ip4, ip6)
	}
}
