package integration_test

import (
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestMove changes the network of the gateway in the middle of a download and of a
// stream: it moves to another site, its device goes down and up, and its
// NAT gets another public address, which nobody tells it.
func TestMove(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{
		Kind: natlab.PortRestricted,
		Link: &natlab.Link{Rate: 100e6, Delay: 10 * time.Millisecond, Queue: 1 << 20},
	})
	away, elsewhere := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	for _, test := range []struct {
		name   string
		change func()
	}{
		{"to another site", func() { elsewhere.Move(away.LAN) }},
		{"down and up", func() { away.LAN.Flap(time.Second) }},
		{"another public address", elsewhere.Renumber},
		{"and back", func() { away.Move(away.LAN) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			gateway.waitPath(2*time.Minute, "home", "direct")
			viewer.waitFrames(30)
			begun, changed := time.Now(), time.Time{}
			d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
				if changed.IsZero() && bytes > largeSize/3 {
					changed = time.Now()
					test.change()
				}
			})
			if d.err != nil || d.hash != home.hash || changed.IsZero() {
				t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, home.hash, d.err)
			}
			viewer.waitFrames(30)
			_, stall := viewer.out.countSince(begun, isFrame)
			gateway.waitPath(2*time.Minute, "home", "direct")
			t.Logf("the download stalled for %v, the stream for %v; direct again after %v", d.stall.Round(time.Millisecond),
				stall.Round(time.Millisecond), time.Since(changed).Round(100*time.Millisecond))
			if d.stall > 2*longestStall || stall > 2*longestStall {
				t.Errorf("stalls of %v and %v", d.stall, stall)
			}
		})
	}
}
