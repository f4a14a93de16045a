package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/proxy"
	"peerway/signal"
	"peerway/signal/client"
)

// A peer that loses the signal server while its tunnel is up can still be
// reached; when the tunnel is down too, it is offline.
func TestPeerFades(t *testing.T) {
	b := newTestBook(t)
	id, name := add(t, b, "home")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		up := true
		tunnel := func(peer string) bool { mu.Lock(); defer mu.Unlock(); return up && peer == name }
		g := newGateway(defaultListen(), b, nil, tunnel, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var settling sync.WaitGroup
		settling.Go(func() { g.settle(ctx) })
		online := func() bool {
			return slices.ContainsFunc(g.routes.List(), func(r proxy.Route) bool { return r.Online })
		}

		if online() {
			t.Error("a peer that was never seen is online")
		}
		here := signal.Presence{Peer: id, Online: true, Services: []signal.Service{{Name: "cam", Scheme: "rtsp"}}}
		gone := signal.Presence{Peer: id, Services: here.Services}
		g.presence(name, here)
		g.presence(name, gone)
		time.Sleep(time.Minute)
		if !online() {
			t.Error("the peer is offline while its tunnel is up")
		}
		mu.Lock()
		up = false
		mu.Unlock()
		time.Sleep(settleEvery + time.Millisecond)
		if online() {
			t.Error("the peer is online without a tunnel")
		}

		g.presence(name, here)
		g.presence(name, gone)
		if online() {
			t.Error("the peer left without a tunnel and is online")
		}
		mu.Lock()
		up = true
		mu.Unlock()
		g.presence(name, here)
		g.presence(name, gone)
		g.presence(name, here) // back before the tunnel ended
		mu.Lock()
		up = false
		mu.Unlock()
		time.Sleep(time.Minute)
		if !online() {
			t.Error("a peer that came back faded nevertheless")
		}
		cancel()
		settling.Wait()
	})
}

// What the viewers of a gateway are told of a peer: nothing before it was tried, and not its
// old name after it has paired anew.
func TestViewersAreToldWhatIsKnown(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	id := signal.NewIdentity().PeerID()
	services := map[signal.PeerID][]signal.Service{id: {{Name: "cam", Scheme: "rtsp"}}, {9}: {{Name: "gone", Scheme: "http"}}}
	if err := errors.Join(dir.SavePeers([]state.Peer{{ID: id, Name: "home"}}), dir.SaveServices(services)); err != nil {
		t.Fatal(err)
	}
	at := defaultListen()
	n, err := newNode(nodeConfig{dir: dir, gateway: &at, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tried := func(name, wantScheme string) {
		t.Helper()
		if _, scheme, err := n.gateway.routes.Lookup(name); err != nil || scheme != wantScheme {
			t.Errorf("Lookup(%s) = %q, %v; want it to be tried", name, scheme, err)
		}
	}
	tried("cam", "rtsp")
	tried("home/web", "")
	if err := n.admit(client.Paired{Peer: id, Name: "house"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.gateway.routes.Lookup("home/cam"); err == nil || !strings.Contains(err.Error(), "there is no peer") {
		t.Errorf("the old name is answered with %v", err)
	}
}

// The signal server may make up services for ever.
func TestMadeUpServicesAreBounded(t *testing.T) {
	b := newTestBook(t)
	_, name := add(t, b, "home")
	lines := 0
	none := func(string) bool { return false }
	g := newGateway(listen{http: "127.0.0.1:0", rtsp: "127.0.0.1:0"}, b, nil, none, func(_, _, _ string) { lines++ }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { g.Run(ctx) })
	<-g.ready()
	for n := range 2 * maxTold {
		g.tell(name, []signal.Service{{Name: fmt.Sprintf("s%d", n), Scheme: "http"}})
	}
	if lines != maxTold || len(g.known) != maxTold {
		t.Errorf("told of %d services and remembered %d, want %d", lines, len(g.known), maxTold)
	}
}

func TestLocalURL(t *testing.T) {
	two := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7480"), netip.MustParseAddrPort("[::1]:8554")}
	one := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:80")}
	for _, test := range []struct {
		at     []netip.AddrPort
		scheme string
		want   string
	}{
		{two, "http", "http://s.home.localhost:7480/"},
		{two, "https", "http://s.home.localhost:7480/"},
		{two, "rtsp", "rtsp://[::1]:8554/home/s"},
		{two, "tcp", ""},
		{one, "http", "http://s.home.localhost:80/"},
		{one, "rtsp", "rtsp://127.0.0.1:80/home/s"},
	} {
		if got := localURL(test.at, "home", signal.Service{Name: "s", Scheme: test.scheme}); got != test.want {
			t.Errorf("localURL(%v, %s) = %q, want %q", test.at, test.scheme, got, test.want)
		}
	}
}
