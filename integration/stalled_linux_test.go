package integration_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	stalledClients = 200
	stalledSize    = 50 << 20
	// stalledLimit is what a role may occupy, resident, with all of them.
	stalledLimit = 224 << 20
	// stalledRest is by how much it may exceed in the end what it was before.
	stalledRest = 32 << 20
)

// TestStalledClients lets clients ask for a large file and stop reading, through
// two tunnels. Others are served as before, the memory of both sides is bounded,
// and those who read on get all.
func TestStalledClients(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	w := newWorld(t)
	web, _ := startWeb(t, here{}, "127.0.0.1")
	second, code := expose(t, here{}, w.signalURL, "second", "web="+web)
	w.gateway.stop(os.Interrupt)
	w.gateway = connectAgain(t, here{}, w.gateway.state, code)
	stalledFile(t)
	urls := []string{w.gateway.url("home", "web"), w.gateway.url("second", "web")}
	w.camURL, w.webURL = w.gateway.url("home", "cam"), urls[0]
	for _, url := range urls {
		if d := fetch(t.Context(), here{}, url+"/small", nil); d.err != nil {
			t.Fatal(d.err)
		}
	}
	w.gateway.waitPath(patience, "home", "direct")
	w.gateway.waitPath(patience, "second", "direct")
	viewer := watch(t, here{}, w.camURL, "tcp")
	wantFile(t, here{}, w.large(), w.hash)
	before := w.gateway.footprint()
	gateway, peer := resident(t, w.gateway.process), resident(t, w.peer.process)

	var clients []*stalled
	for i := range stalledClients {
		clients = append(clients, stall(t, urls[i%2]+"/stalled"))
	}
	viewer.waitFrames(30)
	begun := time.Now()
	d := wantFile(t, here{}, w.large(), w.hash)
	viewer.waitFrames(30)
	_, pause := viewer.out.count(isFrame)
	t.Logf("beside %d stalled clients: 100 MB in %v, longest stall %v; longest time between two pictures %v", stalledClients,
		time.Since(begun).Round(time.Millisecond), d.stall.Round(time.Millisecond), pause.Round(time.Millisecond))
	if d.stall > longestStall || pause > longestStall {
		t.Errorf("stalls of %v and %v, want %v at most", d.stall, pause, longestStall)
	}
	for what, p := range map[string]*role{"gateway": w.gateway, "peer": w.peer, "second peer": second} {
		now := resident(t, p.process)
		t.Logf("%s: %d MiB resident", what, now>>20)
		if now > stalledLimit && len(buildFlags()) == 0 { // one that watches itself takes many times as much
			t.Errorf("%s: %d MiB resident, want at most %d", what, now>>20, stalledLimit>>20)
		}
	}
	t.Logf("before: gateway %d MiB, peer %d MiB", gateway>>20, peer>>20)
	for i := 0; i < stalledClients; i += stalledClients / 4 {
		_ = clients[i].SetDeadline(time.Now().Add(2 * patience))
		if n, err := io.Copy(io.Discard, clients[i]); err != nil || n < stalledSize/2 {
			t.Errorf("client %d read on: %d bytes more, %v", i, n, err)
		}
	}
	for _, c := range clients {
		c.Close()
	}
	before.goroutines += stalledClients / 2 // lanes that stay as long as their tunnels
	w.gateway.waitFootprint(patience, before)
	// What nobody uses goes back to the system when garbage is collected, which it
	// is when there is some.
	for what, now := range map[*role]int{w.gateway: gateway, w.peer: peer} {
		eventually(t, patience, what.name+" has given its memory back", func() (string, bool) {
			wantFile(t, here{}, w.large(), w.hash)
			left := resident(t, what.process)
			return fmt.Sprintf("%d MiB", left>>20), left < now+stalledRest || len(buildFlags()) > 0
		})
	}
}

// A stalled is a client that has read the beginning of an answer.
type stalled struct{ net.Conn }

// stall asks for a URL and reads no more than the beginning.
func stall(t *testing.T, url string) *stalled {
	t.Helper()
	u := parseURL(t, url)
	conn, err := net.Dial("tcp", "127.0.0.1:"+u.Port())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", u.Path, u.Host)
	line := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, line); err != nil || !strings.HasSuffix(string(line), "200") {
		t.Fatalf("a stalled client: %q, %v", line, err)
	}
	return &stalled{conn}
}

// stalledFile puts a file of zeros where web servers find it.
func stalledFile(t *testing.T) {
	t.Helper()
	root, err := webRoot()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(root, "stalled"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(stalledSize); err != nil {
		t.Fatal(err)
	}
}

// resident returns the resident memory of a process in bytes.
func resident(t *testing.T, p *process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kibibytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes << 10
}
