package punch_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"peerway/signal/relay"
	"peerway/tunnel/punch"
)

// TestCallBack has a server send to the port that was asked from, which is open, and to one
// where somebody else listens.
func TestCallBack(t *testing.T) {
	first, second := adjacent(t)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	working.Go(func() { relay.NewSTUNServer().Serve(ctx, first, second) })
	working.Go(func() { relay.NewSTUNServer().Serve(ctx, second, first) })
	server := first.LocalAddr().(*net.UDPAddr).AddrPort()

	conn, elsewhere := listenLocal(t, 0), listenLocal(t, 0)
	p, serve := onSocket(conn, punch.Config{})
	working.Go(func() { serve(ctx) })
	open := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if got, err := p.CallBack(ctx, server, open.Port()); err != nil || got != open {
		t.Errorf("CallBack(%d) = %v, %v, want %v", open.Port(), got, err, open)
	}
	if got, err := p.CallBack(ctx, server, elsewhere.LocalAddr().(*net.UDPAddr).AddrPort().Port()); err == nil {
		t.Errorf("CallBack of another's port = %v", got)
	}
}

// onSocket returns a Puncher whose shared socket is conn, and what reads that.
func onSocket(conn *net.UDPConn, config punch.Config) (*punch.Puncher, func(context.Context)) {
	config.Port = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	config.Write = func(b []byte, to netip.AddrPort) error {
		_, err := conn.WriteToUDPAddrPort(b, to)
		return err
	}
	p := punch.New(config)
	return p, func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			p.Deliver(packet[:n], from)
		}
	}
}

func listenLocal(t *testing.T, port int) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// adjacent opens two ports that follow each other.
func adjacent(t *testing.T) (first, second *net.UDPConn) {
	t.Helper()
	for range 100 {
		first := listenLocal(t, 0)
		port := first.LocalAddr().(*net.UDPAddr).Port
		second, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + 1})
		if err != nil {
			continue
		}
		t.Cleanup(func() { second.Close() })
		return first, second
	}
	t.Fatal("no two free ports that follow each other")
	return nil, nil
}
