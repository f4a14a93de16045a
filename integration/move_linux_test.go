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

// TestMoveStacks gives the gateway's network another prefix of IPv6 in the middle of a
// download, and in the middle of others moves it to networks of the other protocol.
func TestMoveStacks(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	signalURL := startSignalByName(t, lab)
	site := func(stack natlab.Stack, link *natlab.Link) *natlab.Site {
		return lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: stack, Link: link})
	}
	home := site(natlab.Dual, &natlab.Link{Rate: 200e6, Delay: 10 * time.Millisecond, Queue: 1 << 20})
	away, old := site(natlab.IPv6, nil), site(natlab.IPv4, nil)
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
		t.Fatal(d.err)
	}
	for _, test := range []struct {
		name   string
		change func()
	}{
		{"another prefix", away.Renumber},
		{"to IPv4", func() { old.Move(away.LAN) }},
		{"to IPv6", func() { away.Move(away.LAN) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			gateway.waitPath(2*time.Minute, "home", "direct")
			changed := time.Time{}
			d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
				if changed.IsZero() && bytes > largeSize/3 {
					changed = time.Now()
					test.change()
				}
			})
			if d.err != nil || d.hash != hash || changed.IsZero() {
				t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, hash, d.err)
			}
			gateway.waitPath(2*time.Minute, "home", "direct")
			t.Logf("the download stalled for %v; direct again after %v", d.stall.Round(time.Millisecond),
				time.Since(changed).Round(100*time.Millisecond))
			if d.stall > 2*longestStall {
				t.Errorf("a stall of %v", d.stall)
			}
		})
	}
}
