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

// takeTemporary lets a host take a temporary address in its network of IPv6 and prefer
// that, as desktop systems do (RFC 8981), and returns it.
func takeTemporary(t *testing.T, host *natlab.Host) netip.Addr {
	t.Helper()
	err := host.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/use_tempaddr", []byte("2"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	ip6(t, host, "addr", "change", host.Addr6().String()+"/64", "dev", "eth0", "mngtmpaddr")
	var temporary netip.Prefix
	eventually(t, patience, "there is a temporary address", func() (string, bool) {
		out := ip6(t, host, "addr", "show", "dev", "eth0", "temporary")
		_, rest, ok := strings.Cut(out, "inet6 ")
		if ok {
			temporary, err = netip.ParsePrefix(strings.Fields(rest)[0])
		}
		return out, ok && err == nil && !strings.Contains(out, "tentative")
	})
	return temporary.Addr()
}

// ip6 runs ip(8) on a host.
func ip6(t *testing.T, host *natlab.Host, args ...string) (out string) {
	t.Helper()
	b, err := exec.Command("ip", append([]string{"-6", "-n", host.Namespace()}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, b)
	}
	return string(b)
}

// TestManyAddresses looks at the addresses of a host with dozens of IPv6, whose network
// was given another prefix and which takes temporary addresses.
func TestManyAddresses(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Stack: natlab.Dual})
	host, before := site.LAN, site.LAN.Addr6()
	site.Renumber()
	inside := netip.PrefixFrom(host.Addr6(), 64).Masked().Addr().String()
	for i := range 30 {
		ip6(t, host, "addr", "add", fmt.Sprintf("%s1:%x/64", inside, i), "dev", "eth0", "nodad")
	}
	ip6(t, host, "addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
	temporary := takeTemporary(t, host)

	var addrs, lasting []netip.Addr
	if err := host.Do(func() (err error) {
		if addrs, err = network.Addresses(); err == nil {
			lasting, err = network.Lasting()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(lasting); n != len(addrs) || lasting[n-1] != temporary {
		t.Errorf("the last of %v is not %v", lasting, temporary)
	}
	if len(addrs) < 33 || !slices.Contains(addrs[:2], temporary) || !slices.Contains(addrs[:2], host.Addr()) {
		t.Errorf("the best of %d are %v, want %v and %v", len(addrs), addrs[:2], host.Addr(), temporary)
	}
	last := addrs[slices.Index(addrs, netip.MustParseAddr("fd00::1")):]
	if !slices.Equal(last[:2], []netip.Addr{netip.MustParseAddr("fd00::1"), before}) {
		t.Errorf("the last are %v, want fd00::1 and %v, and loopback", last, before)
	}
}

// TestTemporaryAddresses connects where systems prefer other addresses than the lasting
// ones: at both ends, whose firewalls let in only what answers, and at the signal server,
// which peers know by the lasting one.
func TestTemporaryAddresses(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	takeTemporary(t, lab.Signal)
	signalURL := startSignalByName(t, lab)
	firewall := natlab.SiteConfig{Stack: natlab.IPv6, Kind: natlab.PortRestricted}
	for _, cell := range []stackCell{
		{natlab.SiteConfig{Stack: natlab.IPv4, Kind: natlab.Symmetric}, firewall, "relay-udp", false},
		{firewall, firewall, "direct", true},
	} {
		t.Run(cell.String(), func(t *testing.T) {
			home, away := lab.Site(cell.there), lab.Site(cell.here)
			for _, site := range []*natlab.Site{home, away} {
				if site.LAN.Addr6().IsValid() {
					takeTemporary(t, site.LAN)
				}
			}
			wantStackCell(t, signalURL, home, away, cell)
		})
	}
}

// TestSecondAddress: a signal server that listens at all addresses of its machine is known
// by the second of two of the same network, and relays on UDP there.
func TestSecondAddress(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	second := lab.Signal.Addr().Next()
	for range 100 { // away from the other hosts of the network
		second = second.Next()
	}
	if out, err := exec.Command("ip", "-n", lab.Signal.Namespace(), "addr", "add", second.String()+"/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, url := startSignal(t, lab.Signal, ":7443")
	_, secret, _ := strings.Cut(url, ":7443/")
	signalURL := "peerway://" + second.String() + ":7443/" + secret
	symmetric := natlab.SiteConfig{Kind: natlab.Symmetric}
	home, away := lab.Site(symmetric), lab.Site(symmetric)
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
		t.Fatal(d.err)
	}
	gateway.waitPath(patience, "home", "relay-udp")
	if got, want := gateway.remote(), netip.AddrPortFrom(second, 7443); got != want {
		t.Errorf("the relay is at %v, want %v", got, want)
	}
	wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash)
}

// TestRelayAtItsOtherAddress: where one version of IP lets no UDP through, the relay is used
// at its other address, also by who knows the signal server by one address only. That
// address is one that lasts, though the kernel prefers another one.
func TestRelayAtItsOtherAddress(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	takeTemporary(t, lab.Signal)
	byName := startSignalByName(t, lab)
	literal := strings.Replace(byName, natlab.SignalName, lab.Signal.Addr().String(), 1)
	for _, test := range []struct {
		name, signalURL, broken string
		want                    netip.Addr
	}{
		{"without-ipv6", byName, "ip6", lab.Signal.Addr()},
		{"without-ipv4", literal, "ip", lab.Signal.Addr6()},
	} {
		t.Run(test.name, func(t *testing.T) {
			dual := natlab.SiteConfig{Stack: natlab.Dual, Kind: natlab.Symmetric}
			home, away := lab.Site(dual), lab.Site(dual)
			rules := "table " + test.broken + " broken { chain output { type filter hook output priority 0; meta l4proto udp drop; }; }"
			if out, err := away.LAN.Command(t.Context(), "nft", rules).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			away.Drop(home) // only relays remain
			web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
			_, code := expose(t, home.LAN, test.signalURL, test.name, "web="+web)
			gateway := connect(t, away.LAN, code)
			if d := fetch(t.Context(), away.LAN, gateway.url(test.name, "web")+"/small", nil); d.err != nil {
				t.Fatal(d.err)
			}
			gateway.waitPath(patience, test.name, "relay-udp")
			if got, want := gateway.remote(), netip.AddrPortFrom(test.want, 7443); got != want {
				t.Errorf("the relay is at %v, want %v", got, want)
			}
		})
	}
}
