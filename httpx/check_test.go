package httpx_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"peerway/httpx"
	"peerway/proxy"
)

// A server is a Dialer that reaches a web server in memory.
type server func(net.Conn)

func (s server) DialContext(context.Context, proxy.Target, proxy.Class) (proxy.Conn, error) {
	near, far := net.Pipe()
	go s(far) // ends with near
	return halfConn{near}, nil
}

type halfConn struct{ net.Conn }

func (halfConn) CloseWrite() error { return nil }

// says is a server that reads what it is asked and says one thing.
func says(what string) server {
	return func(c net.Conn) {
		defer c.Close()
		c.Read(make([]byte, 4096))
		io.WriteString(c, what)
		if what == "" {
			return
		}
		io.Copy(io.Discard, c) // until it is hung up
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		server server
		want   string
	}{
		"a page":         {says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), ""},
		"without an end": {says("HTTP/1.1 200 OK\r\n\r\nframe"), ""},
		"an error":       {says("HTTP/1.1 500 Out of Order\r\n\r\n"), ""},
		"hangs up":       {says(""), "it closed the connection before it answered"},
		"a camera":       {says("RTSP/1.0 400 Bad Request\r\n\r\n"), "not HTTP"},
		"too much":       {says("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 1<<20)), "it closed"},
		"frozen":         {func(c net.Conn) { io.Copy(io.Discard, c) }, "no answer within 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := httpx.Check(t.Context(), test.server, proxy.Target{Peer: "home", Service: "web"})
				told, _ := errors.AsType[*proxy.Error](err)
				if test.want == "" && err != nil || test.want != "" && (told == nil || told.Code != proxy.CodeUpstream || !strings.Contains(told.Reason, test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

// TestCheckEnds ends with its context.
func TestCheckEnds(t *testing.T) {
	gone := errors.New("nobody waits")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		frozen := server(func(c net.Conn) { c.Read(make([]byte, 4096)); cancel(gone); io.Copy(io.Discard, c) })
		if err := httpx.Check(ctx, frozen, proxy.Target{}); !errors.Is(err, gone) {
			t.Errorf("got %v, want %v", err, gone)
		}
	})
}
