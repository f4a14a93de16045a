package integration_test

import (
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestNarrowPath downloads over a direct path that carries packets of 1280 bytes
// and says nothing about larger ones, and over one that becomes such a path in
// the middle.
func TestNarrowPath(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	const narrow = 1280
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.PortRestricted})

	t.Run("from the start", func(t *testing.T) {
		away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
		away.SetMTU(narrow, true)
		_, code := home.expose(t, signalURL, "home-narrow")
		wantEverything(t, away.LAN, home, connect(t, away.LAN, code), "direct")
	})
	t.Run("from the middle on", func(t *testing.T) {
		away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
		_, code := home.expose(t, signalURL, "home-wide")
		gateway := connect(t, away.LAN, code)
		web := gateway.url("home-wide", "web")
		if d := fetch(t.Context(), away.LAN, web+"/small", nil); d.err != nil {
			t.Fatal(d.err)
		}
		gateway.waitPath(patience, "home-wide", "direct")
		narrowed := false
		d := fetch(t.Context(), away.LAN, web+"/large", func(bytes int64) {
			if !narrowed && bytes > largeSize/4 {
				narrowed = true
				away.SetMTU(narrow, true)
			}
		})
		if d.err != nil || d.hash != home.hash {
			t.Fatalf("%d bytes of %d, %v", d.bytes, largeSize, d.err)
		}
		t.Logf("path narrowed: the download stalled for %v and went on", d.stall.Round(time.Millisecond))
		if path := gateway.path(); path != "direct" {
			t.Errorf("the path is %q in the end, want direct", path)
		}
	})
}
