package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"peerway/integration/leak"
)

func TestMain(m *testing.M) {
	if runHelper() {
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=10") // of the binary, if it watches itself
	leak.Main(m, removeShared)
}

// shared is the folder of what all tests use and none writes to: the binary and
// the large file. It is made on first use and removed with removeShared, or by the
// next run if this one is cut off.
var shared = sync.OnceValues(func() (string, error) {
	const prefix = "peerway-test-"
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*-*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			os.RemoveAll(dir)
		}
	}
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
})

func removeShared() {
	if dir, err := shared(); err == nil {
		os.RemoveAll(dir)
	}
}

var builtBinary = sync.OnceValues(func() (string, error) {
	dir, err := shared()
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "peerway")
	args := append([]string{"build", "-o", name}, buildFlags()...)
	out, err := exec.Command("go", append(args, "../cmd/peerway")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build peerway: %w\n%s", err, out)
	}
	return name, nil
})

// binary returns the path of peerway, as it is now.
func binary(t testing.TB) string {
	t.Helper()
	name, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// A role is a running peerway.
type role struct {
	*process
	state string // its folder
}

func startRole(t testing.TB, at place, state, command string, args ...string) *role {
	t.Helper()
	args = append([]string{command, "--state", state}, args...)
	return &role{process: start(t, at, binary(t), args...), state: state}
}

// startSignal starts a signal server and returns it with its URL.
func startSignal(t testing.TB, at place, listen string) (server *role, url string) {
	t.Helper()
	server = startRole(t, at, t.TempDir(), "signal", "--listen", listen)
	return server, server.says("ready")
}

// expose starts a peer and returns it with its pairing code.
func expose(t testing.TB, at place, signalURL, name string, services ...string) (peer *role, code string) {
	t.Helper()
	peer = startRole(t, at, t.TempDir(), "expose", append([]string{"--signal", signalURL, "--name", name}, services...)...)
	if got := peer.says("ready"); got != name {
		t.Fatalf("the peer is called %q, want %q", got, name)
	}
	return peer, peer.says("pair")
}

// connect starts a gateway with that pairing code.
func connect(t testing.TB, at place, code string) *role {
	t.Helper()
	return connectAgain(t, at, t.TempDir(), code)
}

// connectAgain starts a gateway with the state of an earlier one; code may be
// empty then.
func connectAgain(t testing.TB, at place, state, code string) *role {
	t.Helper()
	args := []string{"--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0"}
	if code != "" {
		args = append([]string{code}, args...)
	}
	gateway := startRole(t, at, state, "connect", args...)
	gateway.says("ready")
	return gateway
}

// url returns the local URL under which the gateway offers a service, without a
// slash at its end.
func (r *role) url(peer, service string) string {
	r.t.Helper()
	return strings.TrimSuffix(r.says("service "+service+" "+peer), "/")
}

// A status is what `peerway status --json` prints.
type status struct {
	Schema  int            `json:"schema"`
	Role    string         `json:"role"`
	Name    string         `json:"name"`
	ID      string         `json:"id"`
	Signal  signalStatus   `json:"signal"`
	Peers   []peerStatus   `json:"peers"`
	Tunnels []tunnelStatus `json:"tunnels"`
	Relays  []relayStatus  `json:"relays"`
	Port    *portStatus    `json:"port"`
	// Goroutines is nil if the role does not tell.
	Goroutines *int `json:"goroutines"`
}

type signalStatus struct {
	URL       string `json:"url"`
	Connected bool   `json:"connected"`
}

type pathStatus struct {
	Path    string  `json:"path"`
	Remote  string  `json:"remote"`
	InUse   bool    `json:"in_use"`
	RTT     float64 `json:"rtt_ms"`
	BytesIn int64   `json:"bytes_in_s"`
}

type portStatus struct {
	Address string `json:"address"`
	Reached bool   `json:"reached"`
}

type relayStatus struct {
	Where string `json:"where"`
	Well  bool   `json:"well"`
}

type peerStatus struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	Online   bool     `json:"online"`
	Services []string `json:"services"`
}

type tunnelStatus struct {
	Peer     string  `json:"peer"`
	Path     string  `json:"path"`
	Remote   string  `json:"remote"`
	Hitch    string  `json:"hitch"`
	RTT      float64 `json:"rtt_ms"`
	Streams  int     `json:"streams"`
	BytesIn  int64   `json:"bytes_in"`
	BytesOut int64   `json:"bytes_out"`
	Idle     float64 `json:"idle_s"`
	Up       float64 `json:"up_s"`

	Exhausted string `json:"exhausted"`

	Paths []pathStatus `json:"paths"`
}

// status asks the role what it does.
func (r *role) status() status {
	r.t.Helper()
	out, err := exec.Command(binary(r.t), "status", "--json", "--state", r.state).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		r.t.Fatalf("status of %s: %v", r.name, err)
	}
	var s status
	if err := json.Unmarshal(out, &s); err != nil {
		r.t.Fatalf("status of %s: %v: %s", r.name, err, out)
	}
	return s
}

// waitPath waits until the tunnel to a peer goes over a path.
func (r *role) waitPath(within time.Duration, peer, path string) {
	r.t.Helper()
	eventually(r.t, within, "the tunnel to "+peer+" goes over "+path, func() (string, bool) {
		s := r.status()
		for _, tunnel := range s.Tunnels {
			if tunnel.Peer == peer && tunnel.Path == path {
				return "", true
			}
		}
		return fmt.Sprintf("%+v", s.Tunnels), false
	})
}

// path returns the path to the only peer, or nothing while there is no tunnel.
func (r *role) path() string {
	r.t.Helper()
	if tunnels := r.status().Tunnels; len(tunnels) == 1 {
		return tunnels[0].Path
	}
	return ""
}

// remote returns where the only tunnel leads.
func (r *role) remote() netip.AddrPort {
	r.t.Helper()
	s := r.status()
	if len(s.Tunnels) != 1 {
		r.t.Fatalf("%s has tunnels %+v, want one", r.name, s.Tunnels)
	}
	addr, err := netip.ParseAddrPort(s.Tunnels[0].Remote)
	if err != nil {
		r.t.Fatal(err)
	}
	return addr
}

// waitNoTunnels waits until the role has no tunnel.
func (r *role) waitNoTunnels(within time.Duration) {
	r.t.Helper()
	eventually(r.t, within, r.name+" has no tunnel", func() (string, bool) {
		tunnels := r.status().Tunnels
		return fmt.Sprintf("%+v", tunnels), len(tunnels) == 0
	})
}

// descriptors returns what the open descriptors of the process are, by kind.
func (p *process) descriptors() map[string]int {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, entry := range entries {
		name, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(name, ":[")
		kinds[kind]++
	}
	return kinds
}

// A footprint is what a role holds.
type footprint struct {
	goroutines  int // 0 if the role does not tell
	descriptors map[string]int
}

func (r *role) footprint() footprint {
	r.t.Helper()
	f := footprint{descriptors: r.descriptors()}
	if n := r.status().Goroutines; n != nil {
		f.goroutines = *n
	}
	return f
}

// waitFootprint waits until the role holds no more than before. Pipes do not
// count: the Go library keeps them for later splices until a collection.
func (r *role) waitFootprint(within time.Duration, before footprint) {
	r.t.Helper()
	eventually(r.t, within, r.name+" holds no more than before", func() (string, bool) {
		now := r.footprint()
		fine := now.goroutines <= before.goroutines
		for kind, n := range now.descriptors {
			fine = fine && (kind == "pipe" || n <= before.descriptors[kind])
		}
		return fmt.Sprintf("%+v, before %+v", now, before), fine
	})
}

// endsWithin is what the command line promises for SIGINT and SIGTERM.
const endsWithin = 3 * time.Second

// stop ends a role as a user does and checks that it ends well. One that does
// not is made to show its goroutines.
func (r *role) stop(s os.Signal) {
	r.t.Helper()
	late := time.AfterFunc(endsWithin, func() { _ = r.cmd.Process.Signal(syscall.SIGQUIT) })
	code, took := r.signal(s)
	switch {
	case !late.Stop():
		r.t.Errorf("%s: ended %v after %v, want %v at most; its goroutines:\n\t%s", r.name, took, s, endsWithin, r.err.tail(1000))
	case code != 0 && code != 130:
		r.t.Errorf("%s: exit code %d after %v, want 0 or 130", r.name, code, s)
	}
}
