package rtsp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/rtsp"
	"peerway/rtsp/camera"
	"peerway/rtsp/rtsptest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestPlayersOfAllKindsShareOnePull(t *testing.T) {
	cam := rtsptest.StartCamera(t, "digest")
	w := newWorld(t, map[string]string{"cam": cam.URL(rtsptest.UserInfo)})
	players := []*rtsptest.Player{
		rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 40),
		rtsptest.FFmpeg(t, w.url("/home/cam"), "udp", 40),
		rtsptest.GStreamer(t, w.url("/cam"), "tcp", 40),
		rtsptest.GStreamer(t, w.url("/cam"), "udp", 40),
	}
	for _, p := range players {
		p.Want(t)
	}
	if s := cam.Stat(t); s.Plays != 1 || s.Sessions != 1 || w.dials.Load() != 1 {
		t.Errorf("the camera has %d sessions after %d PLAYs, the tunnel %d streams; want 1 each", s.Sessions, s.Plays, w.dials.Load())
	}
	rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 10).Want(t) // joins while it lingers
	if s := cam.Stat(t); s.Plays != 1 {
		t.Errorf("the camera saw %d PLAYs, want 1", s.Plays)
	}
	w.stop()
	cam.WantIdle(t)
	if s := cam.Stat(t); s.Teardowns != 1 {
		t.Errorf("the camera saw %d TEARDOWNs, want 1", s.Teardowns)
	}
	for _, secret := range []string{rtsptest.Password, "Digest", "nonce", fmt.Sprint(":", cam.Port)} {
		if strings.Contains(w.spoke.String(), secret) {
			t.Errorf("%q leaves the peer", secret)
		}
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q is logged", secret)
		}
	}
}

func TestWhatCannotBeWatchedIsNotFound(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	cam := rtsptest.StartCamera(t, "basic")
	w := newWorld(t, map[string]string{
		"cam":    cam.URL(rtsptest.UserInfo),
		"down":   "rtsp://" + gone.Addr().String() + "/x",
		"locked": cam.URL("admin:wrong"),
		"shut":   cam.URL(""),
	})
	for path, want := range map[string]string{
		"/home/nothing":   "unknown-name; home/nothing: failed at the gateway: ",
		"/":               "unknown-name; ",
		"/home/web":       "unknown-name; home/web: failed at the gateway: this service is not a camera but speaks http",
		"/home/down":      "upstream; home/down: failed at the server: connection refused by " + gone.Addr().String(),
		"/home/locked":    "upstream; home/locked: failed at the server: the camera refuses the user name or password",
		"/home/shut":      "upstream; home/shut: failed at the server: the camera wants a password",
		"/home/cam/other": "upstream; home/cam: failed at the server: no such stream: the camera answers 404",
		"/home/cam/../x":  "upstream; home/cam: failed at the server: a path with dots leads nowhere",
	} {
		got := w.ask(t, "DESCRIBE "+w.url(path))
		if !strings.HasPrefix(got, "RTSP/1.0 404 Not Found\r\n") || !strings.Contains(got, "\r\nPeerway-Error: "+want) {
			t.Errorf("%s: got %q\nwant 404 and %q", path, got, want)
		}
		for _, secret := range []string{"wrong", rtsptest.Password} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: the answer has %q: %s", path, secret, got)
			}
		}
	}
	if log := w.log.String(); !strings.Contains(log, "the camera refuses the user name or password") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	// The right name works at once afterwards, on any path.
	if got := w.ask(t, "DESCRIBE "+w.url("/home/cam/")); !strings.HasPrefix(got, "RTSP/1.0 200 OK\r\n") ||
		!strings.Contains(got, "a=control:trackID=1") || strings.Contains(got, rtsptest.User) {
		t.Errorf("got %q", got)
	}
}

func TestDescribeNeverHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"cam": "rtsp://192.0.2.1/"})
	w.hole.Store(true)
	start := time.Now()
	got := w.ask(t, "DESCRIBE "+w.url("/home/cam"))
	if d := time.Since(start); d > 4500*time.Millisecond {
		t.Errorf("DESCRIBE took %v", d)
	}
	if !strings.HasPrefix(got, "RTSP/1.0 404 ") || !strings.Contains(got, "still being tried") {
		t.Errorf("got %q", got)
	}
	start = time.Now()
	w.stop()
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("the gateway took %v to stop", d)
	}
}

func TestKilledPlayersLeaveNothing(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	stays := rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 0)
	stays.WantFrames(t, 5)
	files, routines := openFiles(), runtime.NumGoroutine()
	for _, transport := range []string{"tcp", "udp", "tcp", "udp"} {
		p := rtsptest.FFmpeg(t, w.url("/home/cam"), transport, 0)
		p.WantFrames(t, 5)
		p.Kill()
	}
	if !rtsptest.Within(5*time.Second, func() bool { return openFiles() <= files && runtime.NumGoroutine() <= routines }) {
		t.Errorf("%d files and %d goroutines before, %d and %d after", files, routines, openFiles(), runtime.NumGoroutine())
	}
	stays.WantFrames(t, 10) // the others did not notice
}

func TestSlowPlayerHurtsOnlyHimself(t *testing.T) {
	t.Parallel()
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	slow := dial(t, w)
	slow.Conn.(*net.TCPConn).SetReadBuffer(100 << 10) // less than a segment of the loopback interface would stick
	slow.play(t)                                      // and reads no more
	other := rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 0)
	for range 4 { // 20 s: longer than the buffers last and a write may take
		other.WantFrames(t, 100)
	}
	slow.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, slow.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a player that reads nothing is still served")
	}
}

func TestPlayersGetTheCamerasClock(t *testing.T) {
	t.Parallel()
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	first := dial(t, w)
	first.play(t)
	want, _ := first.report(t, 1000) // the camera sends one every few seconds

	late := dial(t, w)
	late.play(t)
	got, ssrc := late.report(t, 5)
	if got.NTPTime != want.NTPTime || got.RTPTime != want.RTPTime {
		t.Errorf("a late player's first report is %v, want the camera's last %v", got, want)
	}
	if got.SSRC != ssrc {
		t.Errorf("the report is of %x, the media of %x", got.SSRC, ssrc)
	}
	now := time.Now()
	if at := time.Unix(int64(got.NTPTime>>32)-2208988800, 0); now.Sub(at).Abs() > time.Minute {
		t.Errorf("the camera's clock says %v, ours %v", at, now)
	}
}

// gortsplib 4 looks into the sessions of other UDP players while they set up,
// without a lock: the process would crash.
func TestManyPlayersSetUpAtOnce(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	var players sync.WaitGroup
	for i := range 20 {
		h := dial(t, w)
		players.Go(func() {
			h.do(t, "DESCRIBE "+h.url, "")
			for track := range 2 {
				port := 20000 + 4*i + 2*track
				answer := h.do(t, fmt.Sprintf("SETUP %s/trackID=%d", h.url, track),
					fmt.Sprintf("Transport: RTP/AVP;unicast;client_port=%d-%d\r\n%s", port, port+1, h.sessionLine()))
				h.keep(answer)
			}
			h.do(t, "PLAY "+h.url+"/", h.sessionLine())
			h.do(t, "TEARDOWN "+h.url+"/", h.sessionLine())
		})
	}
	players.Wait()
}

func TestCameraKilledEndsPlayersAndTheNextOneStartsAfresh(t *testing.T) {
	t.Parallel()
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	players := []*rtsptest.Player{
		rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 0),
		rtsptest.FFmpeg(t, w.url("/home/cam"), "udp", 0),
	}
	for _, p := range players {
		p.WantFrames(t, 5)
	}
	cam.Kill()
	for _, p := range players {
		select {
		case <-p.Done():
		case <-time.After(8 * time.Second):
			t.Errorf("a player goes on without a camera\n%s", p.Output())
			p.Kill()
		}
	}
	if !strings.Contains(w.log.String(), "camera is gone") {
		t.Errorf("the log does not say that the camera is gone:\n%s", w.log.String())
	}
	next := rtsptest.StartCamera(t, "none")
	c, err := camera.Parse(next.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	w.cameras.Store("cam", c)
	rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 10).Want(t)
}

func TestFrozenCameraIsGivenUp(t *testing.T) {
	t.Parallel()
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	p := rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 0)
	p.WantFrames(t, 5)
	resume := cam.Pause()
	defer resume()
	select {
	case <-p.Done():
	case <-time.After(15 * time.Second):
		t.Error("the player still waits")
	}
	if !strings.Contains(w.log.String(), "nothing came from the camera for") {
		t.Errorf("the log does not say why:\n%s", w.log.String())
	}
}

func TestFiftyCyclesLeaveNothing(t *testing.T) {
	cam := rtsptest.StartCamera(t, "digest")
	raw := cam.URL(rtsptest.UserInfo)
	var files, routines int
	for cycle := range 51 {
		w := newWorld(t, map[string]string{"cam": raw})
		watch(t, w, cycle%5)
		w.stop()
		if cycle == 0 { // what the first one opens for good is no leak
			files, routines = openFiles(), runtime.NumGoroutine()
		}
	}
	cam.WantIdle(t)
	if s := cam.Stat(t); s.Teardowns != s.Plays || s.Plays != 51 {
		t.Errorf("the camera saw %d PLAYs and %d TEARDOWNs", s.Plays, s.Teardowns)
	}
	if !rtsptest.Within(5*time.Second, func() bool {
		runtime.GC()
		return openFiles() <= files && runtime.NumGoroutine() <= routines
	}) {
		t.Errorf("%d files and %d goroutines before, %d and %d after", files, routines, openFiles(), runtime.NumGoroutine())
	}
}

func openFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// A player that gets no packets over UDP pauses and starts anew over TCP, on the
// same connection and without a word about the old session.
func TestPlayerChangesFromUDPToTCP(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	h := dial(t, w)
	h.do(t, "DESCRIBE "+h.url, "")
	h.keep(h.do(t, "SETUP "+h.url+"/trackID=0", "Transport: RTP/AVP/UDP;unicast;client_port=50000-50001\r\n"))
	h.play(t)
	h.do(t, "PAUSE "+h.url, h.sessionLine())
	old := h.session
	h.setup(t)
	if h.session == old {
		t.Error("the session is the old one")
	}
	h.play(t)
	if b, err := h.in.ReadByte(); err != nil || b != '$' {
		t.Errorf("got %q, %v instead of media", b, err)
	}
}

func TestPlayersSurviveOddRequests(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	watcher := rtsptest.FFmpeg(t, w.url("/home/cam"), "tcp", 0)
	watcher.WantFrames(t, 5)
	tcp := "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
	for name, requests := range map[string][]string{
		"setup of nothing":     {"SETUP " + w.url("/home/nothing/trackID=0") + " RTSP/1.0\r\nCSeq: 1\r\n" + tcp + "\r\n"},
		"setup of no track":    {"SETUP " + w.url("/home/cam/trackID=7") + " RTSP/1.0\r\nCSeq: 1\r\n" + tcp + "\r\n"},
		"setup twice":          {"SETUP " + w.url("/home/cam/trackID=0") + " RTSP/1.0\r\nCSeq: 1\r\n" + tcp + "\r\n", "SETUP " + w.url("/home/cam/trackID=0") + " RTSP/1.0\r\nCSeq: 2\r\n" + tcp + "\r\n"},
		"multicast":            {"SETUP " + w.url("/home/cam/trackID=0") + " RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;multicast\r\n\r\n"},
		"publish":              {"ANNOUNCE " + w.url("/home/cam") + " RTSP/1.0\r\nCSeq: 1\r\n\r\n"},
		"pause before play":    {"SETUP " + w.url("/home/cam/trackID=0") + " RTSP/1.0\r\nCSeq: 1\r\n" + tcp + "\r\n", "PAUSE " + w.url("/home/cam") + " RTSP/1.0\r\nCSeq: 2\r\nSession: SESSION\r\n\r\n"},
		"keep-alives":          {"GET_PARAMETER " + w.url("/home/cam") + " RTSP/1.0\r\nCSeq: 1\r\n\r\n", "SET_PARAMETER " + w.url("/home/cam") + " RTSP/1.0\r\nCSeq: 2\r\n\r\n", "OPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n"},
		"no session":           {"PLAY " + w.url("/home/cam") + " RTSP/1.0\r\nCSeq: 1\r\nSession: x\r\n\r\n"},
		"media without a play": {"$\x00\x00\x02ab"},
		"junk":                 {strings.Repeat("A", 100000)},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Second))
			r, session := bufio.NewReader(c), ""
			for _, request := range requests {
				io.WriteString(c, strings.Replace(request, "SESSION", session, 1))
				line, err := r.ReadString('\n')
				if err != nil {
					return // refused by hanging up
				}
				for line != "\r\n" {
					if id, ok := strings.CutPrefix(line, "Session: "); ok {
						session, _, _ = strings.Cut(id, ";")
					}
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	watcher.WantFrames(t, 10)
}

func TestUDPOnlyOnThisMachine(t *testing.T) {
	var remote net.IP
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			remote = n.IP
		}
	}
	if remote == nil {
		t.Skip("the test needs an IPv4 address that is not a loopback one")
	}
	cam := rtsptest.StartCamera(t, "none")
	ln, err := net.Listen("tcp", net.JoinHostPort(remote.String(), "0"))
	if err != nil {
		t.Skip(err)
	}
	w := newWorld(t, map[string]string{"cam": cam.URL("")})
	server := rtsp.Server{Dialer: w, Routes: &w.routes}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() { server.Serve(ctx, ln) })

	url := "rtsp://" + ln.Addr().String() + "/home/cam"
	rtsptest.GStreamer(t, url, "udp+tcp", 10).Want(t) // changes to TCP at once
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "SETUP %s/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=40000-40001\r\n\r\n", url)
	if got := readAnswer(t, bufio.NewReader(c)); !strings.HasPrefix(got, "RTSP/1.0 461 ") {
		t.Errorf("got %q", got)
	}
}
