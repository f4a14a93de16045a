package server_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/server"
)

// Connections of one address that say nothing do not keep others out.
func TestManyMuteConnections(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("one host has one loopback address here")
	}
	s, _ := start(t, server.Config{})
	for range 300 { // more than all handshakes
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errTestOver)
	defer cancel()
	elsewhere := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c := client.New(client.Config{URL: s.URL("127.0.0.1"), Identity: signal.NewIdentity(), Name: "home",
		Handler: &greeted{connected: cancel}, DialContext: elsewhere.DialContext})
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody else can log in: %v", err)
	}
}

// A greeted is a handler that acts when it is connected.
type greeted struct {
	quiet
	connected func()
}

func (g *greeted) Connected(client.Info) { g.connected() }

// An exhausted listener has no descriptors until a time.
type exhausted struct {
	net.Listener
	until time.Time
}

func (e exhausted) Accept() (net.Conn, error) {
	if time.Now().After(e.until) {
		return nil, net.ErrClosed
	}
	return nil, os.NewSyscallError("accept4", syscall.EMFILE)
}

// TestNoDescriptors: that connections cannot be accepted is logged once a minute.
func TestNoDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s, err := server.New(server.Config{State: server.NewState(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Accept(t.Context(), exhausted{until: time.Now().Add(150 * time.Second)})
		if !errors.Is(err, net.ErrClosed) || strings.Count(log.String(), "too many open files") != 3 {
			t.Errorf("accept ends with %v and has logged\n%s", err, log.String())
		}
	})
}
