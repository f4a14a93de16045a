package rtsp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"peerway/proxy"
	"peerway/rtsp"
	"peerway/rtsp/rtsptest"
)

// TestCheck asks cameras with one fault each.
func TestCheck(t *testing.T) {
	cam := rtsptest.StartCamera(t, "digest")
	w := newWorld(t, map[string]string{
		"well":      cam.URL(rtsptest.UserInfo),
		"stranger":  cam.URL("admin:wrong"),
		"elsewhere": cam.URL(rtsptest.UserInfo) + "/other",
		"web":       "rtsp://" + answering(t, "HTTP/1.1 400 Bad Request\r\n\r\n"),
		"frozen":    "rtsp://" + answering(t, ""),
	})
	for service, want := range map[string]string{
		"well":      "",
		"stranger":  "refuses the user name or password",
		"elsewhere": "no such stream: the camera answers 404",
		"web":       "it speaks HTTP, not RTSP",
		"frozen":    "the camera accepted the connection, but sent no answer within 10s",
	} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			err := rtsp.Check(t.Context(), w, proxy.Target{Peer: "home", Service: service})
			told, _ := errors.AsType[*proxy.Error](err)
			if want == "" && err != nil || want != "" && (told == nil || told.Hop != proxy.HopServer || !strings.Contains(told.Reason, want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// answering returns the address of a server that says one thing on each connection when it was
// asked, and then nothing until it is hung up.
func answering(t *testing.T, what string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return rtsptest.Serve(t, ln, func(c net.Conn) {
		c.Read(make([]byte, 1024))
		io.WriteString(c, what)
		io.Copy(io.Discard, c)
	})
}

// TestCheckEnds ends with its context.
func TestCheckEnds(t *testing.T) {
	w := newWorld(t, nil)
	w.hole.Store(true)
	gone := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := rtsp.Check(ctx, w, proxy.Target{Peer: "home", Service: "cam"}); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}
