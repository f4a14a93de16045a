package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A runningDemo is the demo inside of the test's own process, so that what it
// leaves behind is noticed.
type runningDemo struct {
	out, err *output
	stop     func()
}

// says waits for a line on standard output that starts with the words.
func (d runningDemo) says(t *testing.T, words string) string {
	t.Helper()
	line, ok := d.out.find(func(line string) bool { return strings.HasPrefix(line, words) }, 1)
	if !ok {
		t.Fatalf("the demo did not print %q; it said:\n%s%s", words, d.out, d.err)
	}
	return strings.TrimPrefix(line, words+" ")
}

func runDemo(t *testing.T, args ...string) runningDemo {
	t.Helper()
	d := runningDemo{out: newOutput(), err: newOutput()}
	stop := errors.New("test ended")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() {
		defer d.out.close()
		done <- execute(ctx, append([]string{"demo"}, args...), d.out, d.err)
	}()
	d.stop = func() {
		t.Helper()
		asked := time.Now()
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("the demo ended with %v, want %v", err, stop)
		}
		if took := time.Since(asked); took > 3*time.Second {
			t.Errorf("the demo took %v to end", took)
		}
		done <- stop // for a second call
	}
	t.Cleanup(d.stop)
	return d
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	d := runDemo(t, "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0", "--state", dir)
	d.says(t, "ready")
	lines := d.out.lines()
	if len(lines) != 3 || lines[2] != "ready" {
		t.Errorf("the demo printed %q, want two services, then ready", lines)
	}
	web, cam := d.says(t, "service web home"), d.says(t, "service cam home")
	if code, body := fetch(t, web); code != 200 || !strings.Contains(body, "<h1>") {
		t.Errorf("the web site: %d %.200q", code, body)
	}
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) { countFrames(t, cam, transport) })
	}

	describe(t, cam+"-which-there-is-not")
	if _, ok := d.err.find(func(line string) bool {
		return strings.Contains(line, "player gets nothing") && strings.Contains(line, "cam-which-there-is-not")
	}, 1); !ok {
		t.Error("why a player gets nothing is not said")
	}

	r, err := askStatus(t.Context(), dir)
	if err != nil || r.Role != "demo" || len(r.Tunnels) != 1 || r.Tunnels[0].Peer != "home" {
		t.Errorf("status = %+v, %v", r, err)
	}
	for _, want := range []string{"browser   " + web, "ffplay " + cam, "vlc " + cam, os.Args[0] + " status --state " + dir} {
		if !strings.Contains(d.err.String(), want) {
			t.Errorf("the demo does not tell %q but\n%s", want, d.err)
		}
	}
	if strings.Contains(d.err.String()+d.out.String(), demoPassword) {
		t.Error("the camera's password left the peer")
	}
	d.stop()
}

// describe asks for a camera that there is not, as a player would.
func describe(t *testing.T, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "DESCRIBE %s RTSP/1.0\r\nCSeq: 1\r\n\r\n", address)
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "RTSP/1.0 404") {
		t.Errorf("the answer is %q, %v", line, err)
	}
}

// countFrames lets ffmpeg decode three seconds.
func countFrames(t *testing.T, url, transport string) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "level+warning", "-rtsp_transport", transport,
		"-i", url, "-frames:v", "75", "-stats", "-fps_mode", "passthrough", "-f", "null", "-").CombinedOutput()
	if err != nil || strings.Contains(string(out), "[error]") {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	counts := regexp.MustCompile(`frame= *(\d+)`).FindAllStringSubmatch(string(out), -1)
	if len(counts) == 0 {
		t.Fatalf("ffmpeg counted nothing:\n%s", out)
	}
	if got, _ := strconv.Atoi(counts[len(counts)-1][1]); got != 75 {
		t.Errorf("ffmpeg decoded %d pictures, want 75", got)
	}
}

// Whenever it is interrupted, the demo ends and leaves nothing behind.
func TestDemoIsInterrupted(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("PEERWAY_STATE", filepath.Join(tmp, "real")) // which a demo does not touch
	for _, after := range []time.Duration{0, 1, 3, 10, 30, 100} {
		d := runDemo(t, "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
		<-time.After(after * time.Millisecond)
		d.stop()
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDemoTakesAFreePort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := newOutput()
	d := &demo{program: &program{stderr: said}}
	if got := d.freeAddress(ln.Addr().String()); got != "127.0.0.1:0" {
		t.Errorf("instead of a taken address: %q", got)
	}
	if !strings.Contains(said.String(), ln.Addr().String()) {
		t.Errorf("it said %q", said)
	}
	ln.Close()
	if got := d.freeAddress(ln.Addr().String()); got != ln.Addr().String() {
		t.Errorf("instead of a free address: %q", got)
	}
	if got := d.freeAddress("203.0.113.1:1"); got != "203.0.113.1:1" {
		t.Errorf("instead of an address that cannot be: %q", got)
	}
}
