package lan

import (
	"net"
	"net/netip"
	"testing"
)

func prefixes(list ...string) (prefixes []netip.Prefix) {
	for _, s := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}

func TestLinks(t *testing.T) {
	on := links{
		{net.Interface{Index: 2, Name: "eth0"}, prefixes("192.168.1.2/24", "fe80::2/64", "fd00:1::2/64")},
		{net.Interface{Index: 3, Name: "wlan0"}, prefixes("10.0.0.2/8", "fe80::3/64")},
		{net.Interface{Index: 4, Name: "wide"}, prefixes("0.0.0.0/0", "::/0")},
	}
	for address, want := range map[string]int{
		"192.168.1.77":     2,
		"192.168.2.77":     4, // private, and all is near
		"10.200.0.1":       3,
		"203.0.113.1":      0, // not even then
		"2001:db8::1":      0,
		"100.64.0.1":       0,
		"fe80::9%2":        2,
		"fe80::9%eth0":     2,
		"fe80::9%3":        3,
		"fe80::9%7":        0,
		"fd00:1::77":       2,
		"127.0.0.1":        4, // only if loopback is a link
		"224.0.0.251":      0,
		"255.255.255.255":  0,
		"0.0.0.0":          0,
		"::":               0,
		"ff02::fb%2":       0,
		"::ffff:192.0.2.1": 0,
	} {
		got := 0
		if l, ok := on.of(netip.MustParseAddr(address)); ok {
			got = l.device.Index
		}
		if got != want {
			t.Errorf("%s is on link %d, want %d", address, got, want)
		}
	}
	if _, ok := links(nil).of(netip.MustParseAddr("10.0.0.1")); ok {
		t.Error("an address is local where there is no network")
	}
}

func TestLookAround(t *testing.T) {
	on, err := lookAround(true)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := on.of(netip.MustParseAddr("127.0.0.1")); !ok {
		t.Errorf("loopback is not among %+v", on)
	}
	if on, err = lookAround(false); err != nil {
		t.Fatal(err)
	}
	if _, ok := on.of(netip.MustParseAddr("127.0.0.1")); ok {
		t.Errorf("loopback is among %+v", on)
	}
}
