package integration_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// longestStall is how long traffic may stand still when its path dies.
const longestStall = 2 * time.Second

// TestCutDirectPath drops the packets of the direct path in the middle of a
// download and of a stream, and later lets them pass again.
func TestCutDirectPath(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.PortRestricted})
	// 100 MB take 8 s: time enough to cut in the middle.
	away := lab.Site(natlab.SiteConfig{
		Kind: natlab.PortRestricted,
		Link: &natlab.Link{Rate: 100e6, Delay: 5 * time.Millisecond, Queue: 1 << 20},
	})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	gateway.waitPath(patience, "home", "direct")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var cutAt time.Time
	d := fetch(ctx, away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
		if cutAt.IsZero() && bytes > largeSize/3 {
			cutAt = time.Now()
			home.Drop(away)
		}
	})
	if d.err != nil || d.hash != home.hash {
		t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, home.hash, d.err)
	}
	if cutAt.IsZero() {
		t.Fatal("the path was never cut")
	}
	gateway.waitPath(patience, "home", "relay-udp")
	viewer.waitFrames(30)
	frames, stall := viewer.out.count(isFrame)
	t.Logf("path cut: the download stalled for %v and went on; the stream stalled for %v, %d frames",
		d.stall.Round(time.Millisecond), stall.Round(time.Millisecond), frames)
	if d.stall > longestStall || stall > longestStall {
		t.Errorf("stalls of %v and %v, want %v at most", d.stall, stall, longestStall)
	}

	home.Heal()
	gateway.waitPath(2*time.Minute, "home", "direct")
	viewer.waitFrames(30)
	_, stall = viewer.out.count(isFrame)
	t.Logf("path healed: direct again %v after the cut; the longest stall of the stream is now %v",
		time.Since(cutAt).Round(time.Second), stall.Round(time.Millisecond))
}

// TestCutOneWay drops the packets of the direct path in one direction, or in both while
// somebody sends forged ones: each end must find out what the other one does not hear.
func TestCutOneWay(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	away := lab.Site(natlab.SiteConfig{
		Kind: natlab.PortRestricted,
		Link: &natlab.Link{Rate: 100e6, Delay: 5 * time.Millisecond, Queue: 1 << 20},
	})
	web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
	peer, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	forge := func() {
		here, there := gateway.remote(), peer.remote()
		for i := range 100 {
			junk := bytes.Repeat([]byte{0x40, byte(i)}, 20)
			if err := lab.Signal.Forge(natlab.Forgery{From: here, To: there, Payload: junk}, natlab.Forgery{From: there, To: here, Payload: junk}); err != nil {
				t.Error(err)
			}
			<-time.After(100 * time.Millisecond)
		}
	}
	for _, test := range []struct {
		name string
		cut  func()
	}{
		{"acknowledgements", func() { away.DropTo(home) }},
		{"data", func() { home.DropTo(away) }},
		{"both, and forged packets", func() { away.DropTo(home); home.DropTo(away) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
				t.Fatal(d.err)
			}
			gateway.waitPath(2*time.Minute, "home", "direct")
			peer.waitPath(2*time.Minute, gateway.status().Name, "direct")
			var forging sync.WaitGroup
			defer forging.Wait()
			cut := false
			d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
				if !cut && bytes > largeSize/3 {
					cut = true
					if strings.Contains(test.name, "forged") {
						forging.Go(forge)
					}
					test.cut()
				}
			})
			if d.err != nil || d.hash != hash {
				t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, hash, d.err)
			}
			t.Logf("the download stalled for %v; the path is %s", d.stall.Round(time.Millisecond), gateway.path())
			if !cut || d.stall > longestStall {
				t.Errorf("a stall of %v, want %v at most", d.stall, longestStall)
			}
			away.Heal()
			home.Heal()
		})
	}
}

// TestCutNetwork takes everything away from one site in the middle of a download, the
// signal server too, and gives it back before the tunnel is given up.
func TestCutNetwork(t *testing.T) {
	need(t, "nginx", "curl")
	for _, kind := range []natlab.Kind{natlab.PortRestricted, natlab.UDPBlocked} {
		t.Run(kind.String(), func(t *testing.T) {
			lab := natlab.New(t)
			_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
			home := lab.Site(natlab.SiteConfig{Kind: kind})
			link := natlab.Link{Rate: 100e6, Delay: 5 * time.Millisecond, Queue: 1 << 20}
			away := lab.Site(natlab.SiteConfig{Kind: kind, Link: &link})
			web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
			_, code := expose(t, home.LAN, signalURL, "home", "web="+web)
			gateway := connect(t, away.LAN, code)
			wantFile(t, away.LAN, gateway.url("home", "web")+"/large", hash)
			if kind != natlab.UDPBlocked {
				gateway.waitPath(patience, "home", "direct")
			}

			const absent = 9 * time.Second
			gone := link
			gone.Loss = 1
			var back *time.Timer
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			d := fetch(ctx, away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
				if back == nil && bytes > largeSize/3 {
					away.Wire().Set(gone)
					back = time.AfterFunc(absent, func() { away.Wire().Set(link) })
				}
			})
			if d.err != nil || d.hash != hash {
				t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, hash, d.err)
			}
			if back == nil || back.Stop() {
				t.Fatal("the network did not go away and come back during the download")
			}
			t.Logf("%v without a network: the download stalled for %v", absent, d.stall.Round(time.Millisecond))
			if d.stall > absent+4*time.Second {
				t.Errorf("a stall of %v for an absence of %v", d.stall, absent)
			}
		})
	}
}
