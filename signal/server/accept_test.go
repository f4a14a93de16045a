package server_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
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
