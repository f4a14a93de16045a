package tunnel

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	"peerway/tunnel/network"
	"peerway/tunnel/portmap"
)

// TestLimits: each end knows those of both, also those that are found out later.
func TestLimits(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	for _, e := range []*end{a, b} { // limits looks at it with the lock held
		e.mu.Lock()
		e.cfg.Sparing, e.cfg.OpenPort = e == a, e == b
		e.mu.Unlock()
	}
	p, err := a.Ping(t.Context(), b.id)
	if err != nil || p.Limits != Metered|KeepsOut|Unasked || p.PeerLimits != Unasked {
		t.Errorf("Ping() = %+v, %v", p, err)
	}
	b.mu.Lock()
	b.nat.Mapping, b.deaf = network.Dependent, true
	b.mu.Unlock()
	b.tellLimits()
	want := Unasked | HardNAT | NoUDP
	eventually(t, "b's limits are known", func() bool {
		up := a.Tunnels()
		return len(up) == 1 && up[0].PeerLimits == want && up[0].Limits == p.Limits
	})
}

// TestHardNAT: a NAT whose ports can be guessed is not hard, nor one behind which a port is open.
func TestHardNAT(t *testing.T) {
	m := New(Config{OpenPort: true})
	m.opening = newOpening(m, 1, portmap.Seed{})
	m.nat = network.NAT{Mapping: network.Dependent}
	if l := m.limits(); l != HardNAT {
		t.Errorf("limits() = %v", l)
	}
	m.nat.Delta = 1
	if l := m.limits(); l != 0 {
		t.Errorf("with ports that can be guessed, limits() = %v", l)
	}
	m.nat.Delta, m.opening.proven = 0, netip.MustParseAddrPort("203.0.113.1:1")
	if l := m.limits(); l != 0 {
		t.Errorf("with an open port, limits() = %v", l)
	}
}

// TestPortClosed: peers are told, once, when the port that was open is not any more.
func TestPortClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := New(Config{OpenPort: true})
		m.life, m.opening = ctx, newOpening(m, 1, portmap.Seed{})
		m.opening.router = netip.MustParseAddrPort("203.0.113.1:1")
		m.opening.proven = m.opening.router // until it is asked for: there is no server to ask
		s := newSession(m, signal.PeerID{1}, 1, dialing)
		s.control = newControl(func() { t.Error("too much is told") })
		close(s.ready)
		m.routes.Store(s.id, s)
		var keeping sync.WaitGroup
		defer keeping.Wait()
		defer cancel()
		keeping.Go(func() { m.keepOpen(ctx) })
		if msg := <-s.control.out; msg.Kind != hello || m.opening.known().IsValid() {
			t.Errorf("peers are told %+v", msg)
		}
		time.Sleep(time.Hour)
		if len(s.control.out) != 0 {
			t.Error("peers are told what they know")
		}
	})
}

// TestDeaf asks a server that does not answer: it is known before anybody asks.
func TestDeaf(t *testing.T) {
	a, _ := newPair(t, true, 0, echo)
	silent := netip.MustParseAddrPort("127.0.0.1:9")
	a.Connected(silent, netip.AddrPort{})
	eventually(t, "it is known to be silent", func() bool { return a.limits()&NoUDP != 0 })
	a.NetworkChanged()
	if l := a.limits(); l&(NoUDP|Unasked) != 0 {
		t.Errorf("limits() = %v in a network that is not known", l)
	}
}

// TestPathWithoutServer: where there is no signal server, no path is called after it.
func TestPathWithoutServer(t *testing.T) {
	a, b := newNeighbours(t, signal.ErrDisconnected)
	a.Disconnected()
	b.Disconnected()
	p, err := a.Ping(t.Context(), b.id)
	if err != nil || p.Path == "relay-ws" || p.Path == "direct" != p.Remote.IsValid() {
		t.Errorf("Ping() = %+v, %v", p, err)
	}
	waitPath(t, b.Manager, "direct")
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// TestPathsOfTheIdle: who looks at a tunnel without a stream is told how its paths are.
func TestPathsOfTheIdle(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	if _, err := a.Ping(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the direct path is measured", func() bool {
		up := a.Tunnels()
		return len(up) == 1 && len(up[0].Paths) > 0 && up[0].Paths[0].Path == "direct" && up[0].Paths[0].InUse &&
			up[0].Paths[0].RTT > 0 && up[0].RTT == up[0].Paths[0].RTT && time.Since(up[0].Paths[0].At) < freshFor
	})
	s := a.up(t)
	if s.watched(time.Now().Add(watchFor)) {
		t.Error("it is measured for ever")
	}
	s.lookedAt.Store(0)
	if !a.Up(b.id) || a.Up(signal.PeerID{}) || s.watched(time.Now()) {
		t.Error("who asks whether it is up is told wrongly, or counts as who looks")
	}
	if _, rtt := s.pathsAt(time.Now().Add(freshFor)); rtt != 0 {
		t.Errorf("what was measured long ago is %v now", rtt)
	}
	a.Disconnected()
	for _, p := range a.Tunnels()[0].Paths {
		if p.Path == "relay-ws" {
			t.Error("without a signal server there is a path over it")
		}
	}
}
