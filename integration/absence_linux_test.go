package integration_test

import (
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestViewersBearAnAbsence takes the network away from a peer whose camera is watched: the
// viewer goes on when it is back before the tunnel is given up, and is told of the path, not of the
// camera, when it is not. A camera that is silent itself is noticed as soon as ever.
func TestViewersBearAnAbsence(t *testing.T) {
	t.Parallel()
	need(t, "camera", "ffmpeg", "nginx")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	link := natlab.Link{Rate: 100e6, Delay: 5 * time.Millisecond, Queue: 1 << 20}
	gone := link
	gone.Loss = 1
	home := newHome(t, lab, natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &link})
	away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	gateway.waitPath(patience, "home", "direct")

	const absent = 9 * time.Second
	home.Wire().Set(gone)
	<-time.After(absent)
	home.Wire().Set(link)
	viewer.waitFrames(60)
	_, stall := viewer.out.count(isFrame)
	t.Logf("%v without a network: the viewer stood still for %v and went on", absent, stall.Round(time.Millisecond))
	if stall > absent+4*time.Second {
		t.Errorf("a stall of %v for an absence of %v", stall, absent)
	}
	if _, ended := gateway.err.find(0, isEnd); ended {
		t.Error("the gateway has given the camera up")
	}

	home.Wire().Set(gone)
	line, ended := gateway.err.find(patience, isEnd)
	if !ended || !strings.Contains(line, "failed at the path") {
		t.Errorf("of a peer that stays away the gateway says %q", line)
	}
	viewer.ends()
}

// isEnd reports whether a line of a gateway's log says that a camera is gone.
func isEnd(line string) bool { return strings.Contains(line, "camera is gone") }
