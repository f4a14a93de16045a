package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerway/proxy/export"
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

// A fakeServer is a backend that is there or not.
type fakeServer struct {
	export.Backend
	err error
}

func (s fakeServer) Check(context.Context) error { return s.err }

func TestCheckServices(t *testing.T) {
	var text bytes.Buffer
	services := []service{
		{signal.Service{Name: "cam"}, fakeServer{err: errors.New("the camera wants a password")}},
		{signal.Service{Name: "slow"}, fakeServer{err: context.DeadlineExceeded}},
		{signal.Service{Name: "web"}, fakeServer{}},
	}
	if got := checkServices(t.Context(), services, newLog(&text, slog.LevelWarn)); len(got) != 2 || got[0].Name != "cam" || got[1].Name != "slow" {
		t.Errorf("silent are %v", got)
	}
	for _, want := range []string{`service=cam err="the camera wants a password"`, `service=slow err="no answer within 5s"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &text)
		}
	}
	if strings.Contains(text.String(), "web") {
		t.Errorf("the log complains about what works:\n%s", &text)
	}
}

// A lateServer is a backend that is there after so many looks.
type lateServer struct {
	export.Backend
	looks atomic.Int32
}

func (s *lateServer) Check(context.Context) error {
	if s.looks.Add(-1) >= 0 {
		return errors.New("it is off")
	}
	return nil
}

// TestAwaitServices looks at what did not answer until it does.
func TestAwaitServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		soon, late := &lateServer{}, &lateServer{}
		late.looks.Store(2)
		silent := []service{{signal.Service{Name: "soon"}, soon}, {signal.Service{Name: "late"}, late}}
		begun := time.Now()
		awaitServices(t.Context(), silent, newLog(&text, slog.LevelInfo))
		if took := time.Since(begun); took != 3*checkAgain {
			t.Errorf("it took %v", took)
		}
		for _, name := range []string{"soon", "late"} {
			if strings.Count(text.String(), `msg="service answers now" service=`+name) != 1 {
				t.Errorf("%s is not told of once:\n%s", name, &text)
			}
		}
		late.looks.Store(1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		awaitServices(ctx, silent[1:], newLog(&text, slog.LevelInfo))
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
