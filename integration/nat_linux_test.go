package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
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
	symmetric := map[natlab.Kind]bool{natlab.Symmetric: true, natlab.Sequential: true}
	switch {
	case a == natlab.UDPBlocked || b == natlab.UDPBlocked:
		return "relay-ws"
	case a == natlab.Sequential && b == natlab.Sequential:
		return "direct" // each side foresees the ports of the other
	case symmetric[a] && symmetric[b]:
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

// TestSequentialNATs puts one end or both behind a NAT whose next port can be foreseen, also
// while other hosts there make it give ports. The way is long: each end learns what its own
// NAT does, and the peer's, when the search may have begun.
func TestSequentialNATs(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	link := natlab.Link{Delay: 50 * time.Millisecond}
	for i, c := range sequentialCells() {
		c.here.Link, c.there.Link = &link, &link
		t.Run(c.String(), func(t *testing.T) {
			home, away := lab.Site(c.there), lab.Site(c.here)
			defer occupy(t, lab, 20, home, away)()
			web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
			peer, code := expose(t, home.LAN, signalURL, fmt.Sprintf("home-%d", i), "web="+web)
			gateway := connect(t, away.LAN, code)
			name := gateway.status().Peers[0].Name
			begun := time.Now()
			if d := fetch(t.Context(), away.LAN, gateway.url(name, "web")+"/small", nil); d.err != nil {
				t.Fatal(d.err)
			}
			gateway.waitPath(patience, name, c.path)
			t.Logf("path %s after %v", c.path, time.Since(begun).Round(time.Millisecond))
			gateway.stop(syscall.SIGINT)
			peer.stop(syscall.SIGINT)
		})
	}
}

// sequentialCells returns the cells of the matrix where the ports of a side can be foreseen.
func sequentialCells() (cells []stackCell) {
	up, down := natlab.SiteConfig{Kind: natlab.Sequential}, natlab.SiteConfig{Kind: natlab.Sequential, Step: -2}
	restricted, random := natlab.SiteConfig{Kind: natlab.PortRestricted}, natlab.SiteConfig{Kind: natlab.Symmetric}
	for _, ends := range [][2]natlab.SiteConfig{{up, down}, {up, restricted}, {restricted, up}, {up, random}} {
		cells = append(cells, stackCell{ends[0], ends[1], pathBetween(ends[0].Kind, ends[1].Kind), false})
	}
	return cells
}

// occupy has another host in each site make so many mappings in a second, until the
// function that it returns is called.
func occupy(t testing.TB, lab *natlab.Lab, rate int, sites ...*natlab.Site) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for _, site := range sites {
		var conn *net.UDPConn
		err := site.Host().Do(func() (err error) {
			conn, err = net.ListenUDP("udp4", nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		working.Go(func() {
			defer conn.Close()
			for port := uint16(20000); ctx.Err() == nil; port++ {
				conn.WriteToUDPAddrPort([]byte("busy"), netip.AddrPortFrom(lab.Signal.Addr(), port)) // nobody is there
				pause := time.Duration(rand.ExpFloat64() / float64(rate) * float64(time.Second))
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		cancel()
		working.Wait()
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
