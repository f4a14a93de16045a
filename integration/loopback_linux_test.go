package integration_test

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lingers is how long a tunnel may outlive its last viewer: the camera's
// session lingers 30 s, then the tunnel 30 s.
const lingers = 75 * time.Second

// A world is a peer with a camera and a web server, and a gateway that is paired
// with it.
type world struct {
	signal, peer, gateway *role
	cam                   *camera
	signalURL, code, hash string

	camURL, webURL string // as the gateway offers them
}

// newWorld builds a world on this machine.
func newWorld(t testing.TB) *world {
	t.Helper()
	need(t, "camera", "ffmpeg", "gst-launch-1.0", "nginx", "curl")
	w := &world{cam: startCamera(t, here{}, "127.0.0.1", "--audio", "--password", "joe:secret")}
	var web string
	web, w.hash = startWeb(t, here{}, "127.0.0.1")
	w.signal, w.signalURL = startSignal(t, here{}, "127.0.0.1:0")
	camera := strings.Replace(w.cam.url, "rtsp://", "rtsp://joe:secret@", 1)
	w.peer, w.code = expose(t, here{}, w.signalURL, "home", "cam="+camera, "web="+web)
	w.gateway = connect(t, here{}, w.code)
	w.camURL, w.webURL = w.gateway.url("home", "cam"), w.gateway.url("home", "web")
	return w
}

func (w *world) large() string { return w.webURL + "/large" }
func (w *world) small() string { return w.webURL + "/small" }

// wantReleased waits until nothing is left of what the viewers caused.
func (w *world) wantReleased(peer, gateway footprint) {
	w.peer.t.Helper()
	w.gateway.waitNoTunnels(lingers)
	w.peer.waitNoTunnels(patience)
	w.cam.waitSessions(patience, 0)
	w.gateway.waitFootprint(patience, gateway)
	w.peer.waitFootprint(patience, peer)
}

// TestLoopback runs everything on this machine, one scene after the other in
// the same world, and then looks for what they left.
func TestLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	peer, gateway := w.peer.footprint(), w.gateway.footprint()

	t.Run("code", func(t *testing.T) {
		_, secret, _ := strings.Cut(w.code, "/")
		if len(secret) == 0 || len(secret) > 40 {
			t.Errorf("the code has %d characters after the address, want 1 to 40", len(secret))
		}
	})
	for _, transport := range []string{"tcp", "udp"} {
		t.Run("watch over "+transport, func(t *testing.T) { wantFrames(t, here{}, w.camURL, transport, 50) })
	}
	t.Run("download", func(t *testing.T) { wantFile(t, here{}, w.large(), w.hash) })
	t.Run("one port for both", w.onePort)
	t.Run("wrong name, then right", w.wrongName)
	t.Run("many clients", w.manyClients)
	t.Run("open and close", w.openAndClose)

	w.wantReleased(peer, gateway)
	w.gateway.stop(syscall.SIGINT)
	w.peer.stop(syscall.SIGTERM)
	w.signal.stop(syscall.SIGTERM)
}

// onePort asks each of the two listeners for what the other is meant for.
func (w *world) onePort(t *testing.T) {
	cam, web := parseURL(t, w.camURL), parseURL(t, w.webURL)
	cam.Host, web.Host = "127.0.0.1:"+web.Port(), web.Hostname()+":"+cam.Port()
	if err := decode(t.Context(), here{}, "ffmpeg", cam.String(), "tcp", 10); err != nil {
		t.Error(err)
	}
	web.Path = "/small"
	if d := fetch(t.Context(), here{}, web.String(), nil); d.err != nil {
		t.Error(d.err)
	}
}

// wrongName mistypes both services, and then not.
func (w *world) wrongName(t *testing.T) {
	wrong := strings.Replace(w.small(), "web.", "wbe.", 1)
	out, err := exec.Command("curl", "-s", "--noproxy", "*", "-w", "\n%{http_code}", wrong).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\n404") || !strings.Contains(string(out), "wbe") {
		t.Errorf("%s: %v, answered\n%s\nwant 404 and the wrong name", wrong, err, out)
	}
	if d := fetch(t.Context(), here{}, w.small(), nil); d.err != nil {
		t.Errorf("the right name after a wrong one: %v", d.err)
	}

	err = openAndClose(strings.Replace(w.camURL, "/cam", "/cma", 1), true)
	if refusal, ok := errors.AsType[*errRTSP](err); !ok || refusal.code != 404 {
		t.Errorf("a wrong camera: %v, want status 404", err)
	}
	if err := openAndClose(w.camURL, true); err != nil {
		t.Errorf("the right camera after a wrong one: %v", err)
	}
}

// manyClients lets 50 web clients and 10 viewers in and closes some of them.
func (w *world) manyClients(t *testing.T) {
	const webClients, viewers, leave = 50, 10, 4
	watching := make([]*process, viewers)
	for i := range watching {
		watching[i] = startViewer(t, here{}, w.camURL, []string{"tcp", "udp"}[i%2])
	}
	for _, v := range watching {
		v.waitFrames(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Those that leave are in the middle of it: they stop reading at 1 MB and are
	// killed when all have come so far.
	var leaving, staying sync.WaitGroup
	leaving.Add(webClients / 5)
	for i := range webClients {
		staying.Go(func() {
			if i%5 != 0 {
				url := w.webURL + "/medium"
				if d := fetch(t.Context(), here{}, url, nil); d.err != nil || d.bytes != mediumSize {
					t.Errorf("a client got %d bytes: %v", d.bytes, d.err)
				}
				return
			}
			arrived := sync.OnceFunc(leaving.Done)
			fetch(ctx, here{}, w.large(), func(bytes int64) {
				if bytes > 1<<20 {
					arrived()
					<-ctx.Done()
				}
			})
			arrived()
		})
	}
	leaving.Wait()
	cancel()
	for _, v := range watching[:leave] {
		v.kill()
	}
	staying.Wait()
	for _, v := range watching[leave:] {
		v.waitFrames(30)
		frames, longest := v.out.count(isFrame)
		t.Logf("a viewer that stayed: %d frames, the longest time between two: %v", frames, longest.Round(time.Millisecond))
	}
}

// openAndClose opens and closes the RTSP client again and again.
func (w *world) openAndClose(t *testing.T) {
	const times = 200
	start := time.Now()
	for i := range times {
		var err error
		if i%20 == 0 {
			err = decode(t.Context(), here{}, []string{"ffmpeg", "gst-launch-1.0"}[i/20%2], w.camURL, "tcp", 1)
		} else {
			err = openAndClose(w.camURL, i%2 == 0)
		}
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	t.Logf("%d clients in %v", times, time.Since(start).Round(time.Millisecond))
	w.cam.waitSessions(patience, 1) // shared by all of them
}

func parseURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
