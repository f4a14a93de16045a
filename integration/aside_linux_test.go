package integration_test

import (
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestPutAside: a path that works, but so badly that what is below it is better, is put
// aside while it is so; a stream and a download notice little of it.
func TestPutAside(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.PortRestricted})
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{Rate: 20e6, Delay: 10 * time.Millisecond, Queue: 256 << 10}})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	viewer.waitFrames(30)
	gateway.waitPath(patience, "home", "direct")

	for _, test := range []struct {
		name  string
		spoil func()
		path  string
		stall time.Duration
	}{
		{"the direct path loses two packets of five", func() { away.DropSome(home.Public(), "numgen random mod 100 < 40") }, "relay-udp", longestStall},
		{"the direct path is well again", away.Heal, "direct", longestStall},
		{"nothing long passes directly", func() { away.DropSome(home.Public(), "udp length > 300") }, "relay-udp", 2 * longestStall},
	} {
		begun := time.Now()
		test.spoil()
		gateway.waitPath(3*time.Minute, "home", test.path)
		took := time.Since(begun)
		viewer.waitFrames(30)
		_, stall := viewer.out.countSince(begun, isFrame)
		t.Logf("%s: %s after %v, the stream stalled for %v", test.name, test.path, took.Round(time.Millisecond), stall.Round(time.Millisecond))
		if stall > test.stall {
			t.Errorf("%s: a stall of %v, want %v at most", test.name, stall, test.stall)
		}
		if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
			t.Errorf("%s: %v", test.name, d.err)
		}
	}
}
