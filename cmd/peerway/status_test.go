package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"peerway/cmd/peerway/state"
)

func exampleReport() report {
	return report{
		Schema: 1, Role: "peer+gateway", Name: "laptop", ID: "abc",
		Signal: signalReport{URL: "peerway://203.0.113.10:7443/…", Connected: true},
		Exposes: []serviceReport{
			{Name: "cam", Why: "connection refused by 192.168.1.20:554", Age: new(int64(12))},
			{Name: "door", Answers: true, Age: new(int64(7200))},
			{Name: "web"},
		},
		Peers: []peerReport{
			{Name: "home", ID: "def", Online: true, Services: []string{"cam", "web"}, URLs: map[string]string{"cam": "rtsp://127.0.0.1:8554/home/cam"}},
			{Name: "office", ID: "ghi", Services: []string{}, Failure: &failureReport{
				askError{Code: "peer-offline", Hop: "peer", Reason: `the peer "office" is offline`, Fix: "start peerway there"}, 72,
			}},
		},
		Tunnels: []tunnelReport{{
			Peer: "home", Path: "direct", Remote: "203.0.113.2:38428", RTT: 12.5, Streams: 3,
			BytesIn: 1048576, BytesOut: 2048, Idle: 0, Up: 42,
			Paths: []pathReport{
				{Path: "direct", Remote: "203.0.113.2:38428", InUse: true, RTT: 12.1, Loss: 0.012, BytesIn: 250000, BytesOut: 500, Heard: new(int64)},
				{Path: "relay-ws", Remote: "203.0.113.10:7443"},
			},
		}},
		Port: &portReport{Address: "203.0.113.9:41641", Reached: true},
		PID:  77, Goroutines: 30, Descriptors: 12,
	}
}

// The files in testdata are the contract of `peerway status`: programs read the
// one, people the other. Fields are only ever added.
func TestStatusIsAsPromised(t *testing.T) {
	var asJSON, asText bytes.Buffer
	e := json.NewEncoder(&asJSON)
	e.SetIndent("", "  ")
	if err := e.Encode(exampleReport()); err != nil {
		t.Fatal(err)
	}
	if err := exampleReport().write(&asText); err != nil {
		t.Fatal(err)
	}
	asText.WriteString("\n")
	relays := []relayReport{
		{Where: "here", Well: true, Sessions: 2, Rate: 17, Capacity: 1000},
		{Where: "relay://relay.example:7443", Capacity: 500},
		{Where: "relay://other.example:7443", Capacity: 500, Sessions: 7, Heard: new(int64(9000))},
	}
	for _, r := range []report{
		{Role: "signal", PID: 78, Signal: signalReport{URL: "peerway://203.0.113.10:7443/…"}, Relays: relays},
		{Role: "relay", PID: 79, Relays: relays[:1]},
	} {
		if err := r.write(&asText); err != nil {
			t.Fatal(err)
		}
	}
	for name, got := range map[string]string{"status.json": asJSON.String(), "status.txt": asText.String()} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil || got != string(want) {
			t.Errorf("%s: %v\ngot:\n%s", name, err, got)
		}
	}
}

// TestUnmeasured: what was not measured is not said to be nothing.
func TestUnmeasured(t *testing.T) {
	r := report{Tunnels: []tunnelReport{{Peer: "home", Path: "relay-ws", Paths: []pathReport{{Path: "relay-ws", InUse: true}}}}}
	var text bytes.Buffer
	if err := r.write(&text); err != nil || strings.Contains(text.String(), "0.0 ms") {
		t.Errorf("%v\n%s", err, &text)
	}
	if b, err := json.Marshal(r); err != nil || bytes.Contains(b, []byte("rtt_ms")) {
		t.Errorf("%v\n%s", err, b)
	}
}

// Without a signal server nobody knows who is online, but for those with a tunnel.
func TestStatusWithoutSignalServer(t *testing.T) {
	var text bytes.Buffer
	r := exampleReport()
	r.Signal.Connected, r.Signal.Why, r.Signal.WhyAge, r.Signal.Retry = false, "connection refused", 20, 9
	r.Peers = append(r.Peers, peerReport{Name: "hut", Services: []string{"cam"}, Remembered: true})
	if err := r.write(&text); err != nil || !strings.Contains(text.String(), "trying again in 9 s: connection refused (20 s ago)\n") {
		t.Errorf("%v\n%s", err, &text)
	}
	states := func() (list []string) {
		for _, s := range r.services() {
			list = append(list, s.Peer+" "+s.State)
		}
		return list
	}
	if got, want := states(), []string{"home online", "home online", "office unknown", "hut remembered"}; !slices.Equal(got, want) {
		t.Errorf("states are %q, want %q", got, want)
	}
	r.Tunnels, r.Signal.Connected = nil, true
	r.Peers[0].Online = false
	if got, want := states(), []string{"home offline", "home offline", "office offline", "hut offline"}; !slices.Equal(got, want) {
		t.Errorf("states are %q, want %q", got, want)
	}
}

// Only the reader of the output may leave without a word.
func TestOnlyReadersLeaveUnsaid(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	_, written := w.WriteString("x")
	network := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}
	for err, want := range map[error]bool{nil: false, written: true, fmt.Errorf("pair: %w", network): false, io.EOF: false} {
		if got := nobodyReads(err); got != want {
			t.Errorf("nobodyReads(%v) = %v", err, got)
		}
	}
}

func TestByteCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1048576: "1.0 MB", 1 << 62: "4.6 EB"} {
		if got := byteCount(n); got != want {
			t.Errorf("byteCount(%d) = %q, want %q", n, got, want)
		}
	}
}

// openControl runs a control until the test ends and returns its folder.
func openControl(t *testing.T) string {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	c := newControl(dir, answers{report: exampleReport}, slog.New(slog.DiscardHandler))
	stop := errors.New("test ended")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("Run() = %v, want %v", err, stop)
		}
		if _, err := os.Lstat(state.Socket(dir.Path())); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	select {
	case <-c.ready:
	case err := <-done:
		t.Fatal(err)
	}
	return dir.Path()
}

func TestControlAnswersOnlyItsOwner(t *testing.T) {
	path := openControl(t)
	r, err := askStatus(t.Context(), path)
	if err != nil || r.Name != "laptop" || r.PID != os.Getpid() || r.Goroutines == 0 {
		t.Errorf("status = %+v, %v", r, err)
	}
	if info, err := os.Stat(state.Socket(path)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
	for _, test := range []struct {
		method, path, header string
		want                 int
	}{
		{"GET", statusPath, "", 200},
		{"GET", statusPath, "Origin: http://localhost:7480", 403},
		{"GET", statusPath, "Origin: null", 403},
		{"GET", statusPath, "Origin: ", 403},
		{"GET", statusPath, "Referer: http://localhost/", 403},
		{"POST", statusPath, "", 405},
		{"GET", "/", "", 404},
	} {
		if got := askRaw(t, path, test.method, test.path, test.header); got != test.want {
			t.Errorf("%s %s with %q = %d, want %d", test.method, test.path, test.header, got, test.want)
		}
	}
}

// askRaw sends one request with a header line and returns the status code.
func askRaw(t *testing.T, path, method, target, header string) int {
	t.Helper()
	client := http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", state.Socket(path))
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://peerway"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header[name] = []string{value}
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// A socket that a killed process left is replaced; anything else is not.
func TestControlTakesOnlyASocketsPlace(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	path := state.Socket(dir.Path())
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newControl(dir, answers{report: exampleReport}, slog.New(slog.DiscardHandler)).Run(t.Context()); err == nil {
		t.Error("Run in place of a file = nil, want an error")
	}
	if content, err := os.ReadFile(path); string(content) != "mine" {
		t.Errorf("the file became %q, %v", content, err)
	}
}

// TestStatusSaysWhy: of a tunnel that is relayed, what stands in the way on both sides.
func TestStatusSaysWhy(t *testing.T) {
	r := exampleReport()
	u := &r.Tunnels[0]
	u.Path, u.Limits, u.PeerLimits = "relay-udp", []string{limitHard}, []string{limitHard, limitShut}
	var text bytes.Buffer
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"relayed: home is reached over relay-udp", "nats-symmetric: the NATs of both sides", "what to do: start peerway at home without",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}

// TestStatusTellsOfSilence: a tunnel lasts for seconds when its peer has died, and does not work
// meanwhile.
func TestStatusTellsOfSilence(t *testing.T) {
	r := exampleReport()
	u := &r.Tunnels[0]
	u.Path, u.Why = "relay-udp", "none of 2 addresses answered"
	u.Paths = []pathReport{{Path: "relay-udp", InUse: true, Heard: new(int64(9100))}, {Path: "relay-ws", Heard: new(int64(8000))}, {Path: "direct"}}
	said := func() string {
		var text bytes.Buffer
		if err := r.write(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	if text := said(); !strings.Contains(text, "online, but silent for 8s") || strings.Contains(text, "works nevertheless") {
		t.Errorf("of a silent tunnel status says\n%s", text)
	}
	u.Paths[1].Heard = new(int64(6900))
	if text := said(); strings.Contains(text, "silent") || !strings.Contains(text, "works nevertheless") {
		t.Errorf("of a tunnel that is heard status says\n%s", text)
	}
	r.Peers[0].Online = false
	if text := said(); strings.Contains(text, "works nevertheless") {
		t.Errorf("of a tunnel with a peer that has just gone offline status says\n%s", text)
	}
	if u.Paths = nil; u.silent() > 0 {
		t.Error("a tunnel of which nothing is known is silent")
	}
}

// TestOldLoss: what was measured long ago is marked.
func TestOldLoss(t *testing.T) {
	r := exampleReport()
	u := r.Tunnels[0]
	if r.stale() {
		t.Error("what was just measured is stale")
	}
	if u.Paths[0].Age = 61000; !r.stale() {
		t.Error("what was measured a minute ago is not stale")
	}
	if got, want := u.loss(), "1 % (1m1s ago)"; got != want {
		t.Errorf("loss() = %q, want %q", got, want)
	}
}
