package integration_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// pathBetween says which path there is between two kinds of site. For a direct one, a side
// must be able to send to an address that the other receives on; between a symmetric one
// and one that filters, it is found with many packets.
func pathBetween(a, b natlab.Kind) string {
	switch {
	case a == natlab.UDPBlocked || b == natlab.UDPBlocked:
		return "relay-ws"
	case a == natlab.Symmetric && b == natlab.Symmetric:
		return "relay-udp"
	}
	return "direct"
}

// A home is a site with a camera and a web server, each on its own host.
type home struct {
	*natlab.Site
	cam  *camera
	web  string
	hash string
}

func newHome(t testing.TB, lab *natlab.Lab, cfg natlab.SiteConfig) *home {
	t.Helper()
	h := &home{Site: lab.Site(cfg)}
	servers := h.Host()
	h.cam = startCamera(t, servers, servers.Addr().String())
	h.web, h.hash = startWeb(t, servers, servers.Addr().String())
	return h
}

// expose starts a peer beside the servers.
func (h *home) expose(t testing.TB, signalURL, name string) (peer *role, code string) {
	t.Helper()
	return expose(t, h.LAN, signalURL, name, "cam="+h.cam.url, "web="+h.web)
}

// TestNATMatrix puts the gateway and the peer behind each kind of address
// translation.
func TestNATMatrix(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	for _, there := range natlab.Kinds() {
		home := newHome(t, lab, natlab.SiteConfig{Kind: there})
		for _, kind := range natlab.Kinds() {
			t.Run(fmt.Sprintf("%v to %v", kind, there), func(t *testing.T) {
				away := lab.Site(natlab.SiteConfig{Kind: kind})
				peer, code := home.expose(t, signalURL, fmt.Sprintf("home-%d-%d", there, kind))
				gateway := connect(t, away.LAN, code)
				wantEverything(t, away.LAN, home, gateway, pathBetween(kind, there))
				var both sync.WaitGroup
				both.Go(func() { gateway.stop(syscall.SIGINT) })
				both.Go(func() { peer.stop(syscall.SIGINT) })
				both.Wait()
			})
		}
	}
}

// TestSameNetwork puts the gateway beside the peer. Nothing but the signal server
// is reached through the box, which lets no UDP out.
func TestSameNetwork(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.UDPBlocked})
	_, code := home.expose(t, signalURL, "home")
	beside := home.Host()
	wantEverything(t, beside, home, connect(t, beside, code), "direct")
}

// wantEverything downloads and watches at a place.
func wantEverything(t *testing.T, at place, home *home, gateway *role, path string) {
	t.Helper()
	name := gateway.status().Peers[0].Name
	web, cam := gateway.url(name, "web"), gateway.url(name, "cam")

	begun := time.Now()
	if d := fetch(t.Context(), at, web+"/small", nil); d.err != nil {
		t.Fatal(d.err)
	}
	first := time.Since(begun)
	gateway.waitPath(patience, name, path)
	upgraded := time.Since(begun)
	begun = time.Now()
	wantFile(t, at, web+"/large", home.hash)
	took := time.Since(begun)
	if err := decode(t.Context(), at, "ffmpeg", cam, "tcp", 20); err != nil {
		t.Error(err)
	}
	if got := gateway.path(); got != path {
		t.Errorf("the path is %q in the end, want %s", got, path)
	}
	t.Logf("path %s after %v; first page after %v; 100 MB in %v (%.0f MB/s)", path, upgraded.Round(time.Millisecond),
		first.Round(time.Millisecond), took.Round(time.Millisecond), float64(largeSize)/1e6/took.Seconds())
}
