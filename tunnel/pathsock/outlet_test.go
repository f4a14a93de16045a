package pathsock_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"peerway/tunnel/pathsock"
)

// TestOutlet carries QUIC by a socket of its own, in packets of all sizes, and what is not
// QUIC.
func TestOutlet(t *testing.T) {
	stun, back := make(chan netip.AddrPort, 64), make(chan netip.AddrPort, 64)
	a := newSide(t, "127.0.0.1", func(_ []byte, from netip.AddrPort) { stun <- from })
	b := newSide(t, "127.0.0.1", func(_ []byte, from netip.AddrPort) { back <- from })
	a.peer, b.peer = a.socket.Add(nil, 1), b.socket.Add(nil, 1)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	outer := conn.LocalAddr().(*net.UDPAddr).AddrPort()

	ctx, cancel := context.WithCancelCause(context.Background())
	over, done := errors.New("over"), make(chan error)
	go func() { done <- a.socket.ServeOutlet(ctx, conn, b.addr) }()
	end := sync.OnceFunc(func() {
		cancel(over)
		if err := <-done; !errors.Is(err, over) {
			t.Errorf("ServeOutlet() = %v", err)
		}
	})
	t.Cleanup(end)

	a.peer.Authenticate(b.addr)
	a.peer.SetRoute(pathsock.Route{Direct: b.addr})
	b.peer.Authenticate(outer) // and not a's own address
	b.peer.SetRoute(pathsock.Route{Direct: outer})
	cfg := quicConfig()
	cfg.InitialPacketSize = pathsock.PacketSize
	client, server := connect(t, a.socket, b.socket, a.peer.Addr(), cfg)
	transfer(t, client, server, 4<<20, nil)
	transfer(t, server, client, 4<<20, nil)
	if s := a.peer.Stats(); s.Direct.In < 1000 || s.Direct.Heard.IsZero() {
		t.Errorf("stats are %+v", s)
	}
	if err := b.socket.WriteReal([]byte{0, 1, 2}, outer); err != nil {
		t.Fatal(err)
	}
	if from := <-stun; from != b.addr {
		t.Errorf("a packet of %v came from %v", b.addr, from)
	}
	if err := a.socket.WriteReal([]byte{0, 1, 2}, b.addr); err != nil {
		t.Fatal(err)
	}
	if from := <-back; from != a.addr {
		t.Errorf("what is not of the path came from %v, want the common socket, %v", from, a.addr)
	}
	end()
	b.peer.Authenticate(a.addr) // from now on by the common socket
	b.peer.SetRoute(pathsock.Route{Direct: a.addr})
	transfer(t, client, server, 1<<20, nil)
}

// A relay is reached by the common socket, whatever a peer says of its address, and whether
// it is granted before that or later.
func TestNoOutletToRelay(t *testing.T) {
	a, relay := newSide(t, "127.0.0.1", nil), listenLoopback(t)
	to := relay.LocalAddr().(*net.UDPAddr).AddrPort()
	peer, conn := a.socket.Add(nil, 1), listenLoopback(t)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() { a.socket.ServeOutlet(ctx, conn, to) })
	for !a.socket.LeavesBy(to, conn) {
		runtime.Gosched()
	}
	peer.Accept(to)
	peer.SetRoute(pathsock.Route{Relay: to})
	peer.Ask(to, true, pathsock.Proof)
	if _, err := a.socket.WriteTo(make([]byte, 1200), peer.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := a.socket.WriteReal([]byte{0, 1, 2}, to); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, from, err := relay.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil || from != a.addr {
			t.Errorf("packet %d comes from %v, want %v: %v", i, from, a.addr, err)
		}
	}
}

func listenLoopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// The end of an outlet leaves alone the one that has taken its place.
func TestOutletsOverlap(t *testing.T) {
	a, b := newSide(t, "127.0.0.1", nil), newSide(t, "127.0.0.1", nil)
	var ends []func()
	var conns []*net.UDPConn
	for range 2 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- a.socket.ServeOutlet(ctx, conn, b.addr) }()
		end := sync.OnceFunc(func() { cancel(); <-done })
		t.Cleanup(end)
		ends, conns = append(ends, end), append(conns, conn)
		for !a.socket.LeavesBy(b.addr, conn) {
			runtime.Gosched()
		}
	}
	ends[0]()
	if !a.socket.LeavesBy(b.addr, conns[1]) {
		t.Error("the end of the old outlet has removed the new one")
	}
	ends[1]()
	if a.socket.LeavesBy(b.addr, conns[1]) {
		t.Error("an outlet outlives its end")
	}
}
