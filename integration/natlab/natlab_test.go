//go:build linux

package natlab_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/integration/natlab"
)

func TestMain(m *testing.M) { leak.Main(m) }

const (
	arrives = 5 * time.Second        // a packet that should come
	lost    = 300 * time.Millisecond // one that should not; a lab without wires takes microseconds
)

// A socket is a UDP socket inside a namespace.
type socket struct {
	t *testing.T
	*net.UDPConn
	local netip.AddrPort
}

func listen(t *testing.T, h *natlab.Host, port uint16) *socket {
	t.Helper()
	return listenAt(t, h, netip.AddrPortFrom(h.Addr(), port))
}

func listenAt(t *testing.T, h *natlab.Host, addr netip.AddrPort) *socket {
	t.Helper()
	s := &socket{t: t}
	err := h.Do(func() (err error) {
		s.UDPConn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.local = s.LocalAddr().(*net.UDPAddr).AddrPort()
	return s
}

func (s *socket) send(text string, to netip.AddrPort) {
	s.t.Helper()
	if _, err := s.WriteToUDPAddrPort([]byte(text), to); err != nil {
		s.t.Fatalf("send to %v: %v", to, err)
	}
}

// receive returns the source of the next packet, or the zero value if none
// comes in time.
func (s *socket) receive(text string, within time.Duration) netip.AddrPort {
	s.t.Helper()
	buffer := make([]byte, 100)
	s.SetReadDeadline(time.Now().Add(within))
	n, from, err := s.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return netip.AddrPort{}
	}
	if got := string(buffer[:n]); got != text {
		s.t.Fatalf("received %q from %v, want %q", got, from, text)
	}
	return from
}

// mapped returns how server sees what s sends to it.
func (s *socket) mapped(server *socket) netip.AddrPort {
	s.t.Helper()
	s.send("who am I", server.local)
	return server.receive("who am I", arrives)
}

func TestTranslation(t *testing.T) {
	for _, kind := range natlab.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			lab := natlab.New(t)
			site, other := lab.Site(natlab.SiteConfig{Kind: kind}), lab.Host()
			inner := listen(t, site.LAN, 40000)
			one, samePlace, elsewhere := listen(t, lab.Signal, 1000), listen(t, lab.Signal, 1001), listen(t, other, 1000)

			if kind == natlab.UDPBlocked {
				inner.send("anybody", one.local)
				if from := one.receive("anybody", lost); from.IsValid() {
					t.Errorf("a packet came out, from %v", from)
				}
				return
			}
			// Unasked packets come first: they must not change what follows.
			elsewhere.send("unasked", netip.AddrPortFrom(site.Public(), 40000))
			if got, want := inner.receive("unasked", lost).IsValid(), kind == natlab.FullCone; got != want {
				t.Errorf("an unasked packet comes in: %v, want %v", got, want)
			}
			mapped := inner.mapped(one)
			if mapped.Addr() != site.Public() {
				t.Errorf("seen as %v, want the public address %v", mapped, site.Public())
			}
			for name, server := range map[string]*socket{"same": one, "port": samePlace, "address": elsewhere} {
				same := inner.mapped(server) == mapped
				if want := kind != natlab.Symmetric || server == one; same != want {
					t.Errorf("another %s sees the same mapping: %v, want %v", name, same, want)
				}
			}
			one.send("answer", mapped)
			if from := inner.receive("answer", arrives); from != one.local {
				t.Errorf("the answer came from %v, want %v", from, one.local)
			}
		})
	}
}

// A sequential site gives the ports in the order in which they are asked for, whoever
// asks, and only to who was sent to.
func TestSequential(t *testing.T) {
	for _, step := range []int{1, -3} {
		lab := natlab.New(t)
		site := lab.Site(natlab.SiteConfig{Kind: natlab.Sequential, Step: step})
		servers := []*socket{listen(t, lab.Signal, 1000), listen(t, lab.Signal, 1001), listen(t, lab.Host(), 1000)}
		last := 0
		for _, inner := range []*socket{listen(t, site.LAN, 40000), listen(t, site.Host(), 40000), listen(t, site.LAN, 40001)} {
			for _, server := range servers {
				mapped := inner.mapped(server)
				if got := int(mapped.Port()) - last; last != 0 && got != step {
					t.Errorf("the next port is %+d from the last, want %+d", got, step)
				}
				if again := inner.mapped(server); again != mapped {
					t.Errorf("seen as %v, then as %v", mapped, again)
				}
				last = int(mapped.Port())
				servers[0].send("perhaps", mapped)
				if got := inner.receive("perhaps", lost).IsValid(); got != (server == servers[0]) {
					t.Errorf("a packet to the port for %v comes in: %v", server.local, got)
				}
			}
		}
	}
}

func TestFilter(t *testing.T) {
	for kind, open := range map[natlab.Kind]bool{natlab.FullCone: true, natlab.PortRestricted: false, natlab.Symmetric: false} {
		t.Run(kind.String(), func(t *testing.T) {
			lab := natlab.New(t)
			inner := listen(t, lab.Site(natlab.SiteConfig{Kind: kind}).LAN, 40000)
			asked, samePlace := listen(t, lab.Signal, 1000), listen(t, lab.Signal, 1001)
			mapped := inner.mapped(asked)
			samePlace.send("from another port", mapped)
			// A full cone of this lab forwards a port even when another host of
			// the public network has a mapping on it.
			if got := inner.receive("from another port", lost).IsValid(); got != open {
				t.Errorf("a packet from another port of the same host comes in: %v, want %v", got, open)
			}
		})
	}
}

// TestPunching opens a path between two port-restricted sites, where each side
// must have sent first, and then cuts it.
func TestPunching(t *testing.T) {
	lab := natlab.New(t)
	config := natlab.SiteConfig{Kind: natlab.PortRestricted}
	home, away := lab.Site(config), lab.Site(config)
	server, a, b := listen(t, lab.Signal, 1000), listen(t, home.LAN, 40000), listen(t, away.LAN, 40000)
	mappedA, mappedB := a.mapped(server), b.mapped(server)

	a.send("too early", mappedB)
	if from := b.receive("too early", lost); from.IsValid() {
		t.Fatalf("a packet came in unasked from %v", from)
	}
	pass := func() bool {
		b.send("hello", mappedA)
		return a.receive("hello", lost) == mappedB
	}
	if !pass() {
		t.Fatal("no packet passes although both have sent")
	}
	home.Drop(away)
	if pass() {
		t.Error("a packet passes although its path is cut")
	}
	if !a.mapped(server).IsValid() {
		t.Error("the cut between two sites also cuts off the signal host")
	}
	home.Heal()
	if !pass() {
		t.Error("no packet passes although the path is healed")
	}
	home.Drop()
	if pass() || !a.mapped(server).IsValid() {
		t.Error("Drop without sites must cut all but the signal host")
	}
}

func TestSetKind(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	server, inner := listen(t, lab.Signal, 1000), listen(t, site.LAN, 40000)
	before := inner.mapped(server)
	site.SetKind(natlab.Symmetric)
	if after := inner.mapped(server); after == before {
		t.Errorf("still seen as %v after the box became symmetric", after)
	}
	site.SetKind(natlab.PortRestricted)
	if after := inner.mapped(server); after != before {
		t.Errorf("seen as %v, want %v as in the beginning", after, before)
	}
}

// TestTwoHosts sends between two hosts of one site, which needs no box.
func TestTwoHosts(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.UDPBlocked})
	a, b := listen(t, site.LAN, 1000), listen(t, site.Host(), 1000)
	a.send("hello", b.local)
	if from := b.receive("hello", arrives); from != a.local {
		t.Errorf("received from %v, want %v", from, a.local)
	}
}
