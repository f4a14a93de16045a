package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A session is the three-machine session of the README on one machine.
type session struct {
	t                       *testing.T
	dir                     string
	web                     *httptest.Server
	signal, home, laptop    *process
	signalURL, code, webURL string
}

func (s *session) state(role string) string { return filepath.Join(s.dir, role) }

// newSession starts the three roles, with a web server that says hello.
func newSession(t *testing.T) *session {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.URL.Path)
	}))
	t.Cleanup(web.Close)
	s := &session{t: t, dir: t.TempDir(), web: web}
	s.startSignal("127.0.0.1:0")
	s.home = start(t, "expose", "--state", s.state("home"), "--signal", s.signalURL, "--name", "home", "web="+web.URL)
	if got := s.home.says("ready"); got != "home" {
		t.Errorf("the peer is ready as %q", got)
	}
	s.code = s.home.says("pair")
	s.connect(s.code)
	s.webURL = s.laptop.says("service web home")
	return s
}

func (s *session) startSignal(address string) {
	s.t.Helper()
	s.signal = start(s.t, "signal", "--state", s.state("signal"), "--listen", address)
	s.signalURL = s.signal.says("ready")
}

// connect starts the gateway, with or without a code.
func (s *session) connect(code ...string) {
	s.t.Helper()
	args := []string{"connect", "--state", s.state("laptop"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0"}
	s.laptop = start(s.t, append(args, code...)...)
	s.laptop.says("ready")
}

// fetch gets a page through the gateway. *.localhost is no name for Go, so it
// goes in the Host header.
func fetch(t *testing.T, address string) (status int, body string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+u.Port()+u.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = u.Host
	req.Close = true
	resp, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// status asks the role whose state folder that is.
func status(t *testing.T, dir string) report {
	t.Helper()
	out, err := exec.Command("peerway", "status", "--json", "--state", dir).Output()
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThreeMachines(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	if code, body := fetch(t, s.webURL+"some/page"); code != 200 || body != "hello from /some/page" {
		t.Errorf("%d %q", code, body)
	}
	r := status(t, s.state("laptop"))
	if r.Schema != 1 || r.Role != "gateway" || !r.Signal.Connected || len(r.Peers) != 1 || len(r.Tunnels) != 1 || r.Goroutines == 0 {
		t.Errorf("status of the gateway: %+v", r)
	}
	if r = status(t, s.state("home")); r.Role != "peer" || r.Name != "home" || len(r.Peers) != 1 || !r.Peers[0].Online {
		t.Errorf("status of the peer: %+v", r)
	}
	if strings.Contains(s.home.err.String(), "peer is offline") {
		t.Errorf("a gateway that pairs is called offline:\n%s", s.home.err)
	}
	if r = status(t, s.state("signal")); r.Role != "signal" || strings.Contains(s.signalURL, r.Signal.URL) {
		t.Errorf("status of the signal server: %+v", r)
	}

	listed, err := exec.Command("peerway", "ls", "--state", s.state("laptop")).Output()
	if err != nil || !strings.Contains(string(listed), s.webURL) {
		t.Errorf("ls: %v, without %s:\n%s", err, s.webURL, listed)
	}

	// A code works once, and the next one is there at once.
	next := s.home.nth("pair", 2)
	if next == s.code {
		t.Error("the pairing code is the same again")
	}
	late := start(t, "connect", s.code, "--state", s.state("late"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	if got := late.ends(); got != exitNotAllowed {
		t.Errorf("connecting with a used code exits with %d", got)
	}
	late.complains("this code was used before")

	// The folder is taken; nothing happens to its owner.
	second := start(t, "connect", "--state", s.state("laptop"))
	if got := second.ends(); got != exitOther {
		t.Errorf("a second process in the folder exits with %d", got)
	}
	second.complains(fmt.Sprintf("another peerway (process %d)", s.laptop.cmd.Process.Pid))

	s.laptop.stop(syscall.SIGINT, exitInterrupted)
	s.home.stop(syscall.SIGTERM, exitOK)
	s.signal.stop(syscall.SIGINT, exitInterrupted)
	for _, p := range []*process{s.laptop, s.home, s.signal} {
		for _, secret := range []string{s.signalURL, s.code, next} {
			if strings.Contains(p.err.String(), secret[len(secret)-20:]) {
				t.Errorf("a secret is in what %v says to people", p.cmd.Args[1])
			}
		}
	}
}

func TestPairingIsRemembered(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.laptop.stop(syscall.SIGTERM, exitOK)
	s.connect()
	if code, body := fetch(t, s.laptop.says("service web home")); code != 200 || body != "hello from /" {
		t.Errorf("%d %q", code, body)
	}
	if _, err := os.Stat(filepath.Join(s.state("laptop"), "control.sock")); err != nil {
		t.Error(err)
	}
	s.laptop.stop(syscall.SIGINT, exitInterrupted)
	if _, err := os.Stat(filepath.Join(s.state("laptop"), "control.sock")); !os.IsNotExist(err) {
		t.Errorf("the control socket is still there: %v", err)
	}
	if strings.Contains(s.laptop.err.String(), "is lost") {
		t.Errorf("who was asked to end has lost the signal server:\n%s", s.laptop.err)
	}

	// A process that was killed leaves its socket and its lock file; the next
	// one does not mind.
	s.connect()
	s.laptop.stop(syscall.SIGKILL, -1)
	s.connect()
	s.laptop.says("service web home")
}

func TestPeerGoesAndComes(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	fetch(t, s.webURL)
	args := s.home.cmd.Args[1:]
	s.home.stop(syscall.SIGTERM, exitOK)
	s.laptop.complains("peer is offline")
	if code, body := fetch(t, s.webURL); code != http.StatusServiceUnavailable || !strings.Contains(body, `"home" is offline`) {
		t.Errorf("%d %q", code, body)
	}
	s.home = start(t, append(args, "more="+strings.TrimPrefix(args[len(args)-1], "web="))...)
	s.home.says("ready")
	if code, body := fetch(t, s.laptop.says("service more home")); code != 200 {
		t.Errorf("the service that came later: %d %q", code, body)
	}
	for deadline := time.Now().Add(patience); ; {
		if code, _ := fetch(t, s.webURL); code == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the peer is back, but the gateway answers %d", code)
		}
	}
	if n := strings.Count(s.laptop.out.String(), "service web home"); n != 1 {
		t.Errorf("the service was printed %d times", n)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	u, err := url.Parse(s.webURL)
	if err != nil {
		t.Fatal(err)
	}
	web := "web=http://127.0.0.1:" + u.Port()
	// Who insists on a name that is taken is refused, with one that is free.
	other := start(t, "expose", "--state", s.state("other"), "--signal", s.signalURL, "--name", "home", web)
	if got := other.ends(); got != exitNotAllowed {
		t.Errorf("a taken name exits with %d", got)
	}
	other.complains(`"home-2" is free`)
	// Who does not insist gets another.
	first := start(t, "expose", "--state", s.state("first"), "--signal", s.signalURL, web)
	second := start(t, "expose", "--state", s.state("second"), "--signal", s.signalURL, web)
	if a, b := first.says("ready"), second.says("ready"); a == b {
		t.Errorf("two peers are called %q", a)
	}
}

func TestUp(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	u, err := url.Parse(s.webURL)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.dir, "peerway.yaml")
	text := fmt.Sprintf("name: both\nsignal: %s\nexpose:\n  far: http://127.0.0.1:1\n  page: http://127.0.0.1:%s\ngateway:\n  http: 127.0.0.1:0\n  rtsp: 127.0.0.1:0\n",
		s.signalURL, u.Port())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// It pairs as a gateway first, as its help says.
	pairing := start(t, "connect", s.home.nth("pair", 2), "--state", s.state("both"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	pairing.says("ready")
	pairing.stop(syscall.SIGINT, exitInterrupted)
	both := start(t, "up", "--config", config, "--state", s.state("both"))
	if got := both.says("ready"); got != "both" {
		t.Errorf("up is ready as %q", got)
	}
	if code, body := fetch(t, both.says("service web home")); code != 200 || body != "hello from /" {
		t.Errorf("as a gateway: %d %q", code, body)
	}
	if r := status(t, s.state("both")); r.Role != "peer+gateway" {
		t.Errorf("role %q", r.Role)
	}
	third := start(t, "connect", both.says("pair"), "--state", s.state("third"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	third.says("service far both")
	third.says("service page both")
	both.complains("service=far")
	both.stop(syscall.SIGTERM, exitOK)
}

// A role does not end because nobody reads its lines any more.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.home.stop(syscall.SIGTERM, exitOK)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home := exec.Command("peerway", s.home.cmd.Args[1:]...)
	home.Stdout = w
	err = home.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Wait()
	defer home.Process.Kill()
	lines := bufio.NewScanner(r)
	code := ""
	for code == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "pair "); ok {
			code = rest
		}
	}
	r.Close()
	// Using the code makes the peer print the next one, to nobody.
	late := start(t, "connect", code, "--state", s.state("late"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	if status, body := fetch(t, late.says("service web home")); status != 200 {
		t.Errorf("%d %q", status, body)
	}
}

// The state folder of a test may have any length; the name of a socket may not.
func TestLongStateFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 40))
	server := start(t, "signal", "--state", dir, "--listen", "127.0.0.1:0")
	server.says("ready")
	if r := status(t, dir); r.Role != "signal" {
		t.Errorf("role %q", r.Role)
	}
	server.stop(syscall.SIGINT, exitInterrupted)
}

func TestBusyAddress(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	u, _ := url.Parse(s.webURL)
	code := s.home.nth("pair", 2)
	again := start(t, "connect", code, "--state", s.state("again"), "--http", "127.0.0.1:"+u.Port(), "--rtsp", "127.0.0.1:0")
	if got := again.ends(); got != exitOther {
		t.Errorf("a taken address exits with %d", got)
	}
	again.complains("127.0.0.1:" + u.Port() + " is in use by another program: end that, or choose another address with --http and --rtsp")
	if again.out.String() != "" {
		t.Errorf("it printed %q", again.out)
	}
	further := start(t, "connect", code, "--state", s.state("laptop"))
	if got := further.ends(); got != exitOther {
		t.Errorf("a taken state folder exits with %d", got)
	}
	further.complains("stopped, and started again with this code, it reaches all its peers")
	// The code is not spent.
	start(t, "connect", code, "--state", s.state("again"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0").says("ready")
	busy := start(t, "signal", "--state", s.state("busy"), "--listen", "127.0.0.1:"+u.Port())
	if got := busy.ends(); got != exitOther {
		t.Errorf("a taken address exits with %d", got)
	}
	busy.complains("127.0.0.1:" + u.Port() + " is in use by another program: end that, or choose another address with --listen")
}

// A URL of which the secret was cut off is said to be without it.
func TestNoJoinSecret(t *testing.T) {
	t.Parallel()
	s := &session{t: t, dir: t.TempDir()}
	s.startSignal("127.0.0.1:0")
	url := s.signalURL[:strings.LastIndexByte(s.signalURL, '.')]
	home := start(t, "expose", "--state", s.state("home"), "--signal", url, "web=http://127.0.0.1:1")
	if got := home.ends(); got != exitNotAllowed {
		t.Errorf("it exits with %d", got)
	}
	home.complains("has no join secret")
}

// Who exposes is told when a service has died, which the first viewer finds out.
func TestServiceDies(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	if r := status(t, s.state("home")); len(r.Exposes) != 1 || r.Exposes[0].Name != "web" || !r.Exposes[0].Answers {
		t.Errorf("home exposes %+v", r.Exposes)
	}
	s.web.Close()
	if code, body := fetch(t, s.webURL); code != http.StatusBadGateway {
		t.Errorf("%d %s", code, body)
	}
	s.home.complains("service does not answer")
	if r := status(t, s.state("home")); r.Exposes[0].Answers || !strings.Contains(r.Exposes[0].Why, "connection refused") {
		t.Errorf("home exposes %+v", r.Exposes)
	}
}

// A camera that is off does not end the peer beside it: it may come back.
func TestNoServiceAnswers(t *testing.T) {
	t.Parallel()
	s := &session{t: t, dir: t.TempDir()}
	s.startSignal("127.0.0.1:0")
	s.home = start(t, "expose", "--state", s.state("home"), "--signal", s.signalURL, "--name", "home", "cam=rtsp://joe:secret@127.0.0.1:1/x")
	s.home.complains("service=cam")
	s.home.complains("Warning: no service answers now")
	s.home.says("ready")
	s.connect(s.home.says("pair"))
	s.laptop.says("service cam home")
	if text := s.home.err.String(); strings.Contains(text, "secret") || !strings.Contains(text, "connection refused by 127.0.0.1:1") {
		t.Errorf("it says\n%s", text)
	}
	s.home.stop(syscall.SIGTERM, exitOK)
}

// TestPairingThatCannotBeKept: who cannot write down a peer does not say that it has paired.
func TestPairingThatCannotBeKept(t *testing.T) {
	s := newSession(t)
	code := s.home.nth("pair", 2)
	away := s.state("home") + "-away" // as good as full
	if err := os.Rename(s.state("home"), away); err != nil {
		t.Skip("an open folder cannot be moved here:", err)
	}
	late := exec.Command("peerway", "connect", "--state", s.state("late"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0", code)
	out, err := late.CombinedOutput()
	if late.ProcessState.ExitCode() != exitNotAllowed || !strings.Contains(string(out), "home, which made this code, cannot pair: save peers") {
		t.Errorf("connect ends with %v and says\n%s", err, out)
	}
	if peers := status(t, away).Peers; len(peers) != 1 {
		t.Errorf("home knows %+v, want one peer", peers)
	}
	if err := os.Rename(away, s.state("home")); err != nil {
		t.Fatal(err)
	}
}
