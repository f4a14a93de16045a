package site_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"peerway/cmd/peerway/site"
	"peerway/integration/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func open(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(site.Handler())
	t.Cleanup(s.Close)
	t.Cleanup(s.Client().CloseIdleConnections)
	return s
}

func get(t *testing.T, s *httptest.Server, path string) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPages(t *testing.T) {
	s := open(t)
	for path, want := range map[string]string{
		"/":          "text/html",
		"/style.css": "text/css",
		"/live.js":   "text/javascript",
		"/icon.svg":  "image/svg+xml",
	} {
		resp, body := get(t, s, path)
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(got, want) || body == "" {
			t.Errorf("%s = %s, %s, %d bytes", path, resp.Status, got, len(body))
		}
		if strings.Contains(body, "http://") && path != "/icon.svg" {
			t.Errorf("%s names another site", path)
		}
	}
	if resp, _ := get(t, s, "/nothing"); resp.StatusCode != 404 {
		t.Errorf("/nothing = %s", resp.Status)
	}
}

func TestRequest(t *testing.T) {
	_, body := get(t, open(t), "/request")
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil || got["from"] == "" || got["host"] == "" {
		t.Errorf("/request = %q, %v", body, err)
	}
}

func TestClockTicks(t *testing.T) {
	resp, err := open(t).Client().Get(open(t).URL + "/clock")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var last time.Time
	for ticks := 0; ticks < 3 && lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		now, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || !now.After(last) {
			t.Fatalf("tick %q after %v: %v", text, last, err)
		}
		last = now
		ticks++
	}
	if last.IsZero() {
		t.Errorf("no tick: %v", lines.Err())
	}
}
