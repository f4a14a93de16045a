//go:build linux

package natlab_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// listen6 opens a socket at the IPv6 address of a host.
func listen6(t *testing.T, h *natlab.Host, port uint16) *socket {
	t.Helper()
	return listenAt(t, h, netip.AddrPortFrom(h.Addr6(), port))
}

// TestFirewall sends between the public network and sites that have IPv6.
func TestFirewall(t *testing.T) {
	lab := natlab.New(t)
	other := lab.Host()
	one, elsewhere := listen6(t, lab.Signal, 1000), listen6(t, other, 1000)
	for _, stack := range []natlab.Stack{natlab.IPv6, natlab.Dual} {
		for _, kind := range natlab.Kinds() {
			t.Run(stack.String()+" "+kind.String(), func(t *testing.T) {
				site := lab.Site(natlab.SiteConfig{Kind: kind, Stack: stack})
				inner := listen6(t, site.LAN, 40000)
				elsewhere.send("unasked", inner.local)
				if got, want := inner.receive("unasked", lost).IsValid(), kind == natlab.FullCone; got != want {
					t.Errorf("an unasked packet comes in: %v, want %v", got, want)
				}
				inner.send("hello", one.local)
				if kind == natlab.UDPBlocked {
					if from := one.receive("hello", lost); from.IsValid() {
						t.Errorf("a packet came out, from %v", from)
					}
					return
				}
				if from := one.receive("hello", arrives); from != inner.local {
					t.Errorf("seen as %v, want %v", from, inner.local)
				}
				one.send("answer", inner.local)
				if from := inner.receive("answer", arrives); from != one.local {
					t.Errorf("the answer came from %v, want %v", from, one.local)
				}
			})
		}
	}
}

// TestPunching6 opens a path between two sites of IPv6, and cuts it in each of the ways.
func TestPunching6(t *testing.T) {
	lab := natlab.New(t)
	config := natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: natlab.IPv6}
	home, away := lab.Site(config), lab.Site(config)
	public := listen6(t, lab.Signal, 1000)
	a, b := listen6(t, home.LAN, 40000), listen6(t, away.LAN, 40000)
	passes := func(want bool, when string) {
		t.Helper()
		a.send("hello", b.local) // lets in the answer, if it does not arrive itself
		b.receive("hello", lost)
		b.send("and back", a.local)
		if got := a.receive("and back", within(want)).IsValid(); got != want {
			t.Errorf("%s: a packet passes: %v, want %v", when, got, want)
		}
	}
	passes(true, "at first")
	for name, cut := range map[string]func(){
		"Drop": func() { home.Drop(away) }, "Drop of all": func() { home.Drop() },
		"DropTo": func() { away.DropTo(home) }, "OnlyTo": func() { home.OnlyTo(lab.Signal) },
	} {
		cut()
		passes(false, name)
		if !a.mapped(public).IsValid() {
			t.Errorf("%s also cuts off the signal host", name)
		}
		home.Heal()
		away.Heal()
		passes(true, "Heal after "+name)
	}
}

// TestNewAddresses lets a host of both protocols have other addresses in each of the ways.
func TestNewAddresses(t *testing.T) {
	lab := natlab.New(t)
	config := natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: natlab.Dual}
	site, other := lab.Site(config), lab.Site(config)
	server, server6 := listen(t, lab.Signal, 1000), listen6(t, lab.Signal, 1000)
	for _, test := range []struct {
		name   string
		change func()
		public netip.Addr
		moves  bool // to another address of IPv6
	}{
		{"nothing", func() {}, site.Public(), false},
		{"Flap", func() { site.LAN.Flap(time.Millisecond) }, site.Public(), false},
		{"Move", func() { other.Move(site.LAN) }, other.Public(), true},
		{"Renumber", other.Renumber, netip.Addr{}, true},
	} {
		before := site.LAN.Addr6()
		test.change()
		if moved := site.LAN.Addr6() != before; moved != test.moves {
			t.Errorf("%s: the address is another one: %v, want %v", test.name, moved, test.moves)
		}
		if got := listen6(t, site.LAN, 0).mapped(server6).Addr(); got != site.LAN.Addr6() {
			t.Errorf("%s: seen as %v, want %v", test.name, got, site.LAN.Addr6())
		}
		if got := listen(t, site.LAN, 0).mapped(server).Addr(); got != test.public && test.public.IsValid() || got != other.Public() && !test.public.IsValid() {
			t.Errorf("%s: seen as %v, want %v", test.name, got, test.public)
		}
	}
	// A new socket takes the address that is not deprecated.
	anywhere := listenAt(t, site.LAN, netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	if got := anywhere.mapped(server6).Addr(); got != site.LAN.Addr6() {
		t.Errorf("the system sends from %v, want %v", got, site.LAN.Addr6())
	}
}

// TestNames asks for the addresses of the signal host, as programs do.
func TestNames(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Stack: natlab.Dual})
	for _, host := range []*natlab.Host{lab.Signal, site.LAN} {
		out, err := host.Command(t.Context(), "getent", "ahosts", natlab.SignalName).CombinedOutput()
		for _, want := range []string{lab.Signal.Addr().String() + " ", lab.Signal.Addr6().String() + " "} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%v: no %s in %s", err, want, out)
			}
		}
	}
}
