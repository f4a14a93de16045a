package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"peerway/cmd/peerway/state"
	"peerway/signal"
)

func TestParseConfig(t *testing.T) {
	url := signal.URL{Addr: "h:1", Pin: signal.Pin{1}, Secret: signal.Secret{2}}
	c, mistakes := parseConfig([]byte("name: home\nsignal: " + url.String() + `
expose:
  cam: rtsps+insecure://joe:secret@192.168.1.20/stream1   # a comment
  web: https+insecure://192.168.1.1
gateway:
  rtsp: "[::1]:554"
`))
	if len(mistakes) > 0 {
		t.Fatalf("mistakes: %v", mistakes)
	}
	if c.name != "home" || c.signal != url || c.gateway.http != "127.0.0.1:7480" || c.gateway.rtsp != "[::1]:554" {
		t.Errorf("config = %+v", c)
	}
	want := []signal.Service{{Name: "cam", Scheme: "rtsp"}, {Name: "web", Scheme: "https"}}
	if got := offered(c.services); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("services = %v, want %v", got, want)
	}
	for _, text := range []string{"gateway:\n", "gateway: {}\n"} {
		if c, mistakes := parseConfig([]byte(text)); len(mistakes) > 0 || c.gateway.http != defaultListen().http || c.gateway.rtsp != defaultListen().rtsp {
			t.Errorf("%q = %+v, %v", text, c, mistakes)
		}
	}
}

// What people try that belongs elsewhere, or is half a URL, is answered with what to write.
func TestHalfURLs(t *testing.T) {
	for text, want := range map[string]string{
		"expose:\n  cam: \"@/etc/cam\"\n":            "@FILE is for the command line only",
		"expose:\n  cam: 192.168.1.20:554/stream1\n": "write, for example, rtsp://",
		"signal: peerway://203.0.113.10:7443/…\n":    "its end is left out",
	} {
		if _, mistakes := parseConfig([]byte(text)); len(mistakes) == 0 || !strings.Contains(mistakes[0].text, want) {
			t.Errorf("%q: %v, want %q", text, mistakes, want)
		}
	}
}

// Whatever is in the file: no panic, and every mistake has a line of the file.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("name: home\nexpose:\n  cam: rtsp://joe:SECRET@h/x\ngateway:\n  http: SECRET\n"))
	f.Add([]byte("expose: &a {b: *a}\n"))
	f.Add([]byte("signal: peerway://h:1/SECRET\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 4<<10 {
			return
		}
		_, mistakes := parseConfig(content)
		lines := bytes.Count(content, []byte("\n")) + bytes.Count(content, []byte("\r")) + 2
		for _, m := range mistakes {
			if m.line < 1 || m.line > lines || m.text == "" {
				t.Errorf("%q: mistake %+v in a file of %d lines", content, m, lines)
			}
		}
	})
}

func TestLogNamesPeers(t *testing.T) {
	b := newTestBook(t)
	id, _ := add(t, b, "home")
	stranger := signal.NewIdentity().PeerID()
	var text bytes.Buffer
	log := slog.New(nameHandler{newLog(&text, slog.LevelInfo).Handler(), b})
	log.With("peer", id).WithGroup("g").Info("one", "peer", id, "n", 1)
	log.Info("two", "peer", stranger)
	for _, want := range []string{"msg=one peer=home g.peer=home g.n=1", "msg=two peer=" + stranger.Short()} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &text)
		}
	}
}

// TestNothingRemembered: what connect says is something that connect can do.
func TestNothingRemembered(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	err = (&nodeConfig{dir: dir}).remembered()
	if exitCode(err) != exitConfig || !strings.Contains(err.Error(), "peerway connect with a fresh code") || strings.Contains(err.Error(), "--signal") {
		t.Errorf("remembered() = %v", err)
	}
}
