package state_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/integration/leak"
	"peerway/signal"
	"peerway/signal/server"
)

func TestMain(m *testing.M) { leak.Main(m) }

func open(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state")
	d := open(t, path)
	first, err := d.Identity()
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	second, err := open(t, path).Identity()
	if err != nil || second.PeerID() != first.PeerID() {
		t.Errorf("Identity() after a restart = %v, %v, want %v", second.PeerID(), err, first.PeerID())
	}
}

func TestEverythingIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	fill(t, d)
	err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A folder that holds other things stays as it is: --state /tmp must not take
// /tmp away from everybody.
func TestForeignFolderKeepsItsMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	path := t.TempDir()
	os.WriteFile(filepath.Join(path, "notes"), nil, 0o644)
	os.Chmod(path, 0o755)
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode = %v, %v, want 0755", info.Mode(), err)
	}
}

// fill saves one of everything and returns what it saved.
func fill(t *testing.T, d *state.Dir) ([]state.Peer, state.Self) {
	t.Helper()
	peers := []state.Peer{
		{ID: signal.NewIdentity().PeerID(), Name: "home", Paired: time.Unix(1e9, 0).UTC()},
		{ID: signal.NewIdentity().PeerID(), Name: "office-2", Paired: time.Unix(2e9, 0).UTC(), Server: "[2001:db8::1]:7443"},
	}
	self := state.Self{Name: "laptop", Signal: signal.URL{Addr: "203.0.113.10:7443", Pin: signal.Pin{1}, Secret: signal.Secret{2}}}
	if _, err := d.Identity(); err != nil {
		t.Fatal(err)
	}
	services := map[signal.PeerID][]signal.Service{peers[0].ID: {{Name: "cam", Scheme: "rtsp"}, {Name: "web", Scheme: "http"}}}
	if err := errors.Join(d.SavePeers(peers), d.SaveSelf(self), d.SaveServices(services)); err != nil {
		t.Fatal(err)
	}
	return peers, self
}

func TestRoundTrip(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if peers, err := d.Peers(); peers != nil || err != nil {
		t.Errorf("Peers() of a new folder = %v, %v", peers, err)
	}
	if self, err := d.Self(); self != (state.Self{}) || err != nil {
		t.Errorf("Self() of a new folder = %v, %v", self, err)
	}
	peers, self := fill(t, d)
	if got, err := d.Peers(); !reflect.DeepEqual(got, peers) || err != nil {
		t.Errorf("Peers() = %v, %v, want %v", got, err, peers)
	}
	if got, err := d.Self(); got != self || err != nil {
		t.Errorf("Self() = %v, %v, want %v", got, err, self)
	}
	want := map[signal.PeerID][]signal.Service{peers[0].ID: {{Name: "cam", Scheme: "rtsp"}, {Name: "web", Scheme: "http"}}}
	if got, err := d.Services(); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("Services() = %v, %v, want %v", got, err, want)
	}
}

func TestServerRoundTrip(t *testing.T) {
	d := open(t, t.TempDir())
	s, err := d.Server()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Server(); !reflect.DeepEqual(again, s) || err != nil {
		t.Errorf("Server() changed, %v", err)
	}
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	s.Peers = []server.KnownPeer{
		{ID: signal.NewIdentity().PeerID(), Name: "home", Seen: day},
		{ID: signal.NewIdentity().PeerID(), Name: "laptop", Seen: day},
	}
	if err := d.SaveServer(s); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Server(); !reflect.DeepEqual(again, s) || err != nil {
		t.Errorf("Server() = %v, %v, want what was saved", again.Peers, err)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	_, err := state.Open(path)
	busy, ok := errors.AsType[*state.BusyError](err)
	if !ok || busy.PID != os.Getpid() {
		t.Fatalf("a second Open = %v, want a BusyError with process %d", err, os.Getpid())
	}
	d.Close()
	open(t, path)
}

func TestCorruptFilesAreNamedAndKept(t *testing.T) {
	id := signal.NewIdentity().PeerID().String()
	mistyped := []byte(id)
	mistyped[20] ^= 'x' ^ 'y' // another character
	for name, test := range map[string]struct {
		file, content string
		line          int
	}{
		"empty identity":   {"identity", "", 1},
		"no key":           {"identity", "# nothing\n", 1},
		"short key":        {"identity", "# a\ned25519 c2hvcnQ=\n", 2},
		"two keys":         {"identity", "ed25519 " + strings.Repeat("A", 43) + "=\ned25519 " + strings.Repeat("A", 43) + "=\n", 2},
		"other key":        {"identity", "rsa AAAA\n", 1},
		"mistyped peer":    {"peers", "# peers\n\n" + string(mistyped) + " home 2026-01-01T00:00:00Z\n", 3},
		"peer twice":       {"peers", id + " home 2026-01-01T00:00:00Z\n" + id + " home 2026-01-01T00:00:00Z\n", 2},
		"bad date":         {"peers", id + " home yesterday\n", 1},
		"bad name":         {"peers", id + " Home! 2026-01-01T00:00:00Z\n", 1},
		"cut off":          {"peers", id + " home 2026-01-01T00:00:00Z\n" + id[:30], 2},
		"no service":       {"services", id + " cam\n", 1},
		"bad service":      {"services", "# services\n" + id + " Cam! rtsp\n", 2},
		"bad scheme":       {"services", id + " cam gopher\n", 1},
		"bad owner":        {"services", "home cam rtsp\n", 1},
		"many services":    {"services", strings.Repeat(id+" cam rtsp\n", 257), 257},
		"unknown setting":  {"self", "name home\ncolour red\n", 2},
		"bad signal URL":   {"self", "signal https://example.com/\n", 1},
		"binary":           {"self", "\x00\x01\x02\n", 1},
		"server, unknown":  {"server", "who knows\n", 1},
		"server, no key":   {"server", "secret AAAAAAAAAAAAAAAAAAAAAA==\n", 1},
		"server, bad peer": {"server", "# peers\npeer x home 2026-01-01\n", 2},
		"server, bad day":  {"server", "peer " + id + " home today\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, test.file)
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			d := open(t, path)
			_, err1 := d.Identity()
			_, err2 := d.Peers()
			_, err3 := d.Self()
			_, err4 := d.Server()
			_, err5 := d.Services()
			corrupt, ok := errors.AsType[*state.CorruptError](errors.Join(err1, err2, err3, err4, err5))
			if !ok || corrupt.File != file || corrupt.Line != test.line {
				t.Errorf("error = %v, want a CorruptError of %s:%d", errors.Join(err1, err2, err3, err4, err5), file, test.line)
			}
			if got, err := os.ReadFile(file); string(got) != test.content || err != nil {
				t.Errorf("the file became %q, %v", got, err)
			}
		})
	}
}

func TestNoErrorShowsASecret(t *testing.T) {
	path := t.TempDir()
	key := strings.Repeat("SECRETs", 6)
	os.WriteFile(filepath.Join(path, "identity"), []byte("ed25519 "+key+"\n"), 0o600)
	os.WriteFile(filepath.Join(path, "self"), []byte("signal peerway://h:1/"+key+"\n"), 0o600)
	d := open(t, path)
	_, err1 := d.Identity()
	_, err2 := d.Self()
	for _, err := range []error{err1, err2} {
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error = %v, want one without the secret", err)
		}
	}
}

func TestReadableKeyIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	path := t.TempDir()
	d := open(t, path)
	if _, err := d.Identity(); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(path, "identity"), 0o644)
	if _, err := d.Identity(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Identity() of a readable file = %v, want advice", err)
	}
}

// A write that fails leaves the old file and nothing else.
func TestFailedWriteChangesNothing(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	fill(t, d)
	if err := os.Mkdir(filepath.Join(path, "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := list(t, path)
	if err := d.SaveServer(server.NewState()); err == nil {
		t.Error("SaveServer over a folder = nil, want an error")
	}
	if after := list(t, path); !reflect.DeepEqual(after, before) {
		t.Errorf("files after a failed write: %v, before: %v", after, before)
	}
}

// What a process left that died while writing is removed, the file it wanted to
// replace is not.
// A state folder may be any folder, also one with a name that is a pattern.
func TestFilesOfOthersAreKept(t *testing.T) {
	parent := t.TempDir()
	theirs := []string{filepath.Join(parent, "[ab]", "notes.tmp-1"), filepath.Join(parent, "a", "peers.tmp-1")}
	for _, file := range theirs {
		os.Mkdir(filepath.Dir(file), 0o700)
		if err := os.WriteFile(file, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := state.Open(filepath.Join(parent, "[ab]"))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	for _, file := range theirs {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestInterruptedWrite(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	peers, _ := fill(t, d)
	d.Close()
	os.WriteFile(filepath.Join(path, "peers.tmp-123"), []byte("half a li"), 0o600)
	d = open(t, path)
	if got, err := d.Peers(); !reflect.DeepEqual(got, peers) || err != nil {
		t.Errorf("Peers() = %v, %v, want %v", got, err, peers)
	}
	for _, name := range list(t, path) {
		if strings.Contains(name, ".tmp-") {
			t.Errorf("%s is still there", name)
		}
	}
}

func list(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
