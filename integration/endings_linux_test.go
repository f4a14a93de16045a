package integration_test

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// goneAfter is how long a side may take to notice that the other has vanished
// without a word: 15 s of silence, and then some.
const goneAfter = 40 * time.Second

func TestGatewayIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.peer.footprint()
	watch(t, here{}, w.camURL, "tcp").waitFrames(5)
	w.gateway.kill()
	w.peer.waitNoTunnels(goneAfter)
	w.cam.waitSessions(patience, 0)
	w.peer.waitFootprint(patience, before)

	// A new gateway with the old state needs no code.
	w.gateway = connectAgain(t, here{}, w.gateway.state, "")
	if err := decode(t.Context(), here{}, "ffmpeg", w.gateway.url("home", "cam"), "tcp", 10); err != nil {
		t.Error(err)
	}
}

func TestPeerIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.gateway.footprint()
	viewer := watch(t, here{}, w.camURL, "tcp")
	viewer.waitFrames(5)
	w.peer.kill()
	w.gateway.waitNoTunnels(goneAfter)
	viewer.kill()
	w.cam.waitSessions(patience, 0)
	w.gateway.waitFootprint(lingers, before)
	if refusal, ok := errors.AsType[*errRTSP](openAndClose(w.camURL, true)); !ok || refusal.code != 404 {
		t.Errorf("a camera whose peer is gone: %v, want status 404", refusal)
	}

	again := startRole(t, here{}, w.peer.state, "expose", append([]string{"--signal", w.signalURL, "--name", "home"}, w.peer.services()...)...)
	again.says("ready")
	eventually(t, patience, "the camera of the restarted peer plays", func() (string, bool) {
		err := openAndClose(w.camURL, true)
		return errorText(err), err == nil
	})
	if err := decode(t.Context(), here{}, "ffmpeg", w.camURL, "tcp", 10); err != nil {
		t.Error(err)
	}
}

func TestBothAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch(t, here{}, w.camURL, "tcp").waitFrames(5)
	var both sync.WaitGroup
	both.Go(w.peer.kill)
	both.Go(w.gateway.kill)
	both.Wait()
	w.cam.waitSessions(patience, 0)
}

// TestBothAreInterrupted ends both sides at once, politely: the camera must be
// told, not left to find out.
func TestBothAreInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	watch(t, here{}, w.camURL, "tcp").waitFrames(5)
	var both sync.WaitGroup
	both.Go(func() { w.peer.stop(syscall.SIGINT) })
	both.Go(func() { w.gateway.stop(syscall.SIGINT) })
	both.Wait()
	w.cam.waitSessions(5*time.Second, 0) // its own patience would be 15 s
}

// TestSignalServerRestarts takes the signal server away under a live stream.
func TestSignalServerRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	viewer := watch(t, here{}, w.camURL, "tcp")
	viewer.waitFrames(5)
	w.gateway.waitPath(patience, "home", "direct")
	w.signal.kill()
	eventually(t, patience, "the gateway has noticed", func() (string, bool) {
		return "", !w.gateway.status().Signal.Connected
	})
	viewer.waitFrames(60)

	address := parseURL(t, w.signalURL)
	signal := startRole(t, here{}, w.signal.state, "signal", "--listen", address.Host)
	if again := signal.says("ready"); again != w.signalURL {
		t.Errorf("the signal server's URL is now %q, want the old one", redacted(again))
	}
	eventually(t, 60*time.Second, "both sides have logged in again", func() (string, bool) {
		gateway, peer := w.gateway.status().Signal.Connected, w.peer.status().Signal.Connected
		return "", gateway && peer
	})
	viewer.waitFrames(10)
	_, longest := viewer.out.count(isFrame)
	t.Logf("the longest time between two frames: %v", longest.Round(time.Millisecond))
}

func TestDemo(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg", "curl")
	demo := start(t, here{}, binary(t), "demo", "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	demo.says("ready")
	played, fetched := false, false
	for _, line := range demo.out.all() {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[0] != "service" {
			continue
		}
		address := fields[3]
		if strings.HasPrefix(address, "rtsp://") {
			played = true
			if err := decode(t.Context(), here{}, "ffmpeg", address, "tcp", 30); err != nil {
				t.Error(err)
			}
			continue
		}
		fetched = true
		if d := fetch(t.Context(), here{}, address, nil); d.err != nil || d.bytes == 0 {
			t.Errorf("%s: %d bytes, %v", address, d.bytes, d.err)
		}
	}
	if !played || !fetched {
		t.Errorf("the demo offers a camera: %v, a web site: %v; want both", played, fetched)
	}
	if code, took := demo.signal(syscall.SIGINT); took > 3*time.Second || code != 0 && code != 130 {
		t.Errorf("the demo ended with code %d after %v", code, took)
	}
}

// services returns the services that the peer was started with.
func (r *role) services() (services []string) {
	for _, arg := range r.cmd.Args {
		if strings.Contains(arg, "=") {
			services = append(services, arg)
		}
	}
	return services
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// redacted hides the secret of a signal URL.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(no URL)"
	}
	return u.Scheme + "://" + u.Host + "/…"
}
