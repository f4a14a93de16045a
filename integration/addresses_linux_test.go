package integration_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"peerway/integration/natlab"
	"peerway/tunnel/network"
)

// TestManyAddresses looks at the addresses of a host with dozens of IPv6, whose network
// was given another prefix and which takes temporary addresses.
func TestManyAddresses(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Stack: natlab.Dual})
	host, before := site.LAN, site.LAN.Addr6()
	site.Renumber()
	ip := func(args ...string) string {
		out, err := exec.Command("ip", append([]string{"-6", "-n", host.Namespace()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	inside := netip.PrefixFrom(host.Addr6(), 64).Masked().Addr().String()
	for i := range 30 {
		ip("addr", "add", fmt.Sprintf("%s1:%x/64", inside, i), "dev", "eth0", "nodad")
	}
	ip("addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
	err := host.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/use_tempaddr", []byte("2"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	ip("addr", "add", inside+"2:1/64", "dev", "eth0", "nodad", "mngtmpaddr")
	var temporary netip.Prefix
	eventually(t, patience, "there is a temporary address", func() (string, bool) {
		out := ip("addr", "show", "dev", "eth0", "temporary")
		_, rest, ok := strings.Cut(out, "inet6 ")
		if ok {
			temporary, err = netip.ParsePrefix(strings.Fields(rest)[0])
		}
		return out, ok && err == nil && !strings.Contains(out, "tentative")
	})

	var addrs []netip.Addr
	if err := host.Do(func() (err error) {
		addrs, err = network.Addresses()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(addrs) < 34 || !slices.Contains(addrs[:2], temporary.Addr()) || !slices.Contains(addrs[:2], host.Addr()) {
		t.Errorf("the best of %d are %v, want %v and %v", len(addrs), addrs[:2], host.Addr(), temporary.Addr())
	}
	last := addrs[slices.Index(addrs, netip.MustParseAddr("fd00::1")):]
	if !slices.Equal(last[:2], []netip.Addr{netip.MustParseAddr("fd00::1"), before}) {
		t.Errorf("the last are %v, want fd00::1 and %v, and loopback", last, before)
	}
}
