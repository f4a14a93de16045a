// Package rtsptest has what tests of RTSP need: a real camera and real players
// that share no code with this module.
//
// # Ownership
//
// What a function starts is ended when the test ends, at the latest. Tests are
// skipped, with the reason, where a program is missing.
package rtsptest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed camera.py
var cameraScript string

// python is the system's own: only that one has GStreamer's bindings.
const python = "/usr/bin/python3"

// Credentials of a camera that wants some; the password has the characters that
// URLs do not like.
const (
	User     = "admin"
	Password = "se:cr/et"
	UserInfo = "admin:se%3Acr%2Fet"
)

// Serve gives each connection that is made to ln to handle, and closes it after that. It takes
// ownership of ln, and waits in the end for handle to return. It returns the address.
func Serve(t testing.TB, ln net.Listener, handle func(net.Conn)) string {
	var serving sync.WaitGroup
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	serving.Go(func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			serving.Go(func() { defer c.Close(); handle(c) })
		}
	})
	return ln.Addr().String()
}

// A Camera is GStreamer's RTSP server with a picture of noise, 160 by 120 at 20
// frames per second, in H.264, and a tone in G.711.
type Camera struct {
	Port int
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	once sync.Once
	mu   sync.Mutex
}

// A Stat says what a camera has seen.
type Stat struct {
	Clients   int // connections that are open
	Sessions  int // sessions that are open
	Plays     int // PLAY requests, ever
	Teardowns int // TEARDOWN requests, ever
}

// StartCamera starts a camera that wants no credentials ("none"), or those
// above by "basic" or "digest".
func StartCamera(t testing.TB, auth string) *Camera {
	t.Helper()
	check := "import gi; gi.require_version('GstRtspServer','1.0'); from gi.repository import GstRtspServer"
	if err := exec.Command(python, "-c", check).Run(); err != nil {
		t.Skip("the test needs python3-gi and gir1.2-gst-rtsp-server-1.0 as a camera")
	}
	cmd := exec.Command(python, "-c", cameraScript, auth, "videotestsrc pattern=snow")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Camera{cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(c.Kill)
	if _, err := fmt.Fscanf(c.out, "ready %d\n", &c.Port); err != nil {
		t.Fatalf("the camera does not start: %v", err)
	}
	return c
}

// Kill ends the camera as a power failure would, and waits until it is gone.
func (c *Camera) Kill() {
	c.once.Do(func() {
		c.cmd.Process.Kill()
		c.in.Close()
		c.cmd.Wait()
	})
}

// Pause stops the camera's process without closing anything; the function that
// it returns lets it go on.
func (c *Camera) Pause() (resume func()) { return pause(c.cmd.Process) }

// URL returns the camera's URL, with user info if it is not empty.
func (c *Camera) URL(userInfo string) string {
	if userInfo != "" {
		userInfo += "@"
	}
	return fmt.Sprintf("rtsp://%s127.0.0.1:%d/live", userInfo, c.Port)
}

// Stat asks the camera.
func (c *Camera) Stat(t testing.TB) (s Stat) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.in, "stat")
	if _, err := fmt.Fscanf(c.out, "stat %d %d %d %d\n", &s.Clients, &s.Sessions, &s.Plays, &s.Teardowns); err != nil {
		t.Fatalf("the camera does not answer: %v", err)
	}
	return s
}

// WantIdle fails the test unless the camera has no connection and no session
// within 5 s.
func (c *Camera) WantIdle(t testing.TB) {
	t.Helper()
	var s Stat
	if !Within(5*time.Second, func() bool {
		s = c.Stat(t)
		return s.Clients == 0 && s.Sessions == 0
	}) {
		t.Errorf("the camera still has %d connections and %d sessions", s.Clients, s.Sessions)
	}
}

// Within reports whether a condition becomes true in time. It looks every 20 ms.
func Within(limit time.Duration, condition func() bool) bool {
	end := time.NewTimer(limit)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-end.C:
			return condition()
		}
	}
	return true
}

// A Player is a program that watches.
type Player struct {
	cmd  *exec.Cmd
	out  lockedBuffer
	done chan struct{}
	err  error // of the program; after done

	waiting sync.WaitGroup
}

// FFmpeg starts ffmpeg, which decodes until it has so many frames, or for ever
// with 0. The transport is "tcp" or "udp".
func FFmpeg(t testing.TB, url, transport string, frames int) *Player {
	t.Helper()
	args := []string{"-nostdin", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "0.1",
		"-analyzeduration", "500000", "-rtsp_transport", transport, "-i", url, "-map", "0:v"}
	if frames > 0 {
		args = append(args, "-frames:v", strconv.Itoa(frames))
	}
	return play(t, "ffmpeg", append(args, "-f", "null", "-")...)
}

// GStreamer starts gst-launch-1.0 in the same way.
func GStreamer(t testing.TB, url, transport string, frames int) *Player {
	t.Helper()
	if frames == 0 {
		frames = -1
	}
	return play(t, "gst-launch-1.0", "-q", "rtspsrc", "location="+url, "protocols="+transport, "latency=100",
		"!", "rtph264depay", "!", "h264parse", "!", "avdec_h264", "!", "fakesink", "num-buffers="+strconv.Itoa(frames))
}

func play(t testing.TB, program string, args ...string) *Player {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("the test needs %s", program)
	}
	p := &Player{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.waiting.Go(func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	})
	t.Cleanup(p.Kill)
	return p
}

// Want fails the test unless the player ends within a minute without an error.
func (p *Player) Want(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%s: %v\n%s", p.cmd.Args[0], p.err, p.Output())
		}
	case <-ctx.Done():
		p.Kill()
		t.Errorf("%s does not end\n%s", p.cmd.Args[0], p.Output())
	}
}

// Done is closed when the player has ended.
func (p *Player) Done() <-chan struct{} { return p.done }

// Kill ends the player as a crash would, and waits until it is gone.
func (p *Player) Kill() {
	p.cmd.Process.Kill()
	p.waiting.Wait()
}

// Pause stops the player's process; the function that it returns lets it go on.
func (p *Player) Pause() (resume func()) { return pause(p.cmd.Process) }

// Output returns what the player has written.
func (p *Player) Output() string { return p.out.String() }

// Frames returns how many frames ffmpeg has decoded so far.
func (p *Player) Frames() int {
	out := p.Output()
	i := strings.LastIndex(out, "\nframe=")
	if i < 0 {
		return 0
	}
	number, _, _ := strings.Cut(out[i+len("\nframe="):], "\n")
	n, _ := strconv.Atoi(strings.TrimSpace(number))
	return n
}

// WantFrames fails the test unless ffmpeg decodes so many more frames within 15 s.
func (p *Player) WantFrames(t testing.TB, more int) {
	t.Helper()
	from := p.Frames()
	if !Within(15*time.Second, func() bool { return p.Frames() >= from+more }) {
		t.Errorf("ffmpeg decoded %d frames, want %d more\n%s", p.Frames()-from, more, tail(p.Output()))
	}
}

// tail returns the end of a long output.
func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
