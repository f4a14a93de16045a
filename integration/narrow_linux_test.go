package integration_test

import (
	"fmt"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestNarrowPath downloads over a direct path that carries packets of 1280 bytes
// and says nothing about larger ones.
func TestNarrowPath(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.PortRestricted})
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	away.SetMTU(narrowest, true)
	_, code := home.expose(t, signalURL, "home-narrow")
	wantEverything(t, away.LAN, home, connect(t, away.LAN, code), "direct")
}

// TestPathNarrows downloads over each kind of path, with each version of IP, while it
// becomes one that carries packets of 1280 bytes and says nothing about larger ones.
func TestPathNarrows(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	signalURL := startSignalByName(t, lab)
	for _, stack := range []natlab.Stack{natlab.IPv4, natlab.IPv6} {
		config := natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: stack}
		for _, test := range []struct {
			path string
			cut  func(home *natlab.Site)
		}{
			{"direct", func(*natlab.Site) {}},
			{"relay-udp", func(home *natlab.Site) { home.Drop() }},
			{"relay-ws", func(home *natlab.Site) { home.SetKind(natlab.UDPBlocked) }},
		} {
			t.Run(fmt.Sprintf("%v %s", stack, test.path), func(t *testing.T) {
				home, away := lab.Site(config), lab.Site(config)
				test.cut(home)
				web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
				name := fmt.Sprintf("home%d-%s", stack, test.path)
				_, code := expose(t, home.LAN, signalURL, name, "web="+web)
				gateway := connect(t, away.LAN, code)
				local := gateway.url(name, "web")
				if d := fetch(t.Context(), away.LAN, local+"/small", nil); d.err != nil {
					t.Fatal(d.err)
				}
				gateway.waitPath(patience, name, test.path)
				narrowed := false
				d := fetch(t.Context(), away.LAN, local+"/large", func(bytes int64) {
					if !narrowed && bytes > largeSize/4 {
						narrowed = true
						away.SetMTU(narrowest, true)
					}
				})
				if d.err != nil || d.hash != hash || !narrowed {
					t.Fatalf("%d bytes of %d, narrowed: %v, %v", d.bytes, largeSize, narrowed, d.err)
				}
				t.Logf("path narrowed: the download stalled for %v and went on", d.stall.Round(time.Millisecond))
				if d.stall > longestStall {
					t.Errorf("a stall of %v, want %v at most", d.stall, longestStall)
				}
				if path := gateway.path(); path != test.path {
					t.Errorf("the path is %q in the end, want %s", path, test.path)
				}
			})
		}
	}
}
