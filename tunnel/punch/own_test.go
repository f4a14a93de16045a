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

// An adoption is a call of Adopt.
type adoption struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

// TestOwnSocket makes one side's attempt from a socket of its own: it is found there, and
// the socket is lent until the attempt ends, which leaves nothing open.
func TestOwnSocket(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	loopback := func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil }
	adopted, returned := make(chan adoption, 4), make(chan struct{}, 4)
	config := punch.Config{
		Interfaces: loopback, AllowLoopback: true,
		Adopt: func(ctx context.Context, conn *net.UDPConn, to netip.AddrPort) {
			adopted <- adoption{conn, to}
			<-ctx.Done()
			returned <- struct{}{}
		},
	}
	shared, others := listenLocal(t, 0), listenLocal(t, 0)
	own, serveShared := onSocket(shared, config)
	other, serveOthers := onSocket(others, punch.Config{Interfaces: loopback, AllowLoopback: true})
	working.Go(func() { serveShared(ctx) })
	working.Go(func() { serveOthers(ctx) })

	one := dial(t, own, punch.AttemptConfig{Controlling: true, Own: true, Mapped: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}})
	two := dial(t, other, punch.AttemptConfig{Own: true}) // without Adopt there is no use for another socket
	if !one.Own() || two.Own() {
		t.Fatalf("own sockets: %v and %v, want one only", one.Own(), two.Own())
	}
	if n := len(one.Local().Candidates); n != 1 {
		t.Errorf("candidates %v, want none of the shared socket", one.Local().Candidates)
	}
	connect(t, one, two.Local())
	connect(t, two, one.Local())
	at := selected(t, two).Remote
	if to := selected(t, one).Remote; to != others.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("selected %v, want %v", to, others.LocalAddr())
	}
	lent := <-adopted
	if at.Port() != lent.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port() || at == shared.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("the peer has found %v, the socket is at %v", at, lent.conn.LocalAddr())
	}
	if lent.to != others.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("adopted for %v, want %v", lent.to, others.LocalAddr())
	}
	one.Close()
	<-returned
	if _, err := lent.conn.WriteTo([]byte{1}, others.LocalAddr()); err == nil {
		t.Error("the socket is still open")
	}
}

// The socket of an attempt is the one that STUN is asked from.
func TestOwnSocketIsMapped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	server := listenLocal(t, 0)
	working.Go(func() { relay.NewSTUNServer().Serve(ctx, server, nil) })
	p, _ := onSocket(listenLocal(t, 0), punch.Config{Adopt: func(context.Context, *net.UDPConn, netip.AddrPort) {}})
	a := dial(t, p, punch.AttemptConfig{Own: true})
	asking, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	seen, err := a.Mapped(asking, server.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	if more := a.AddMapped(seen); len(more) != 1 {
		t.Errorf("AddMapped(%v) = %v", seen, more)
	}
	a.Close()
	if _, err := a.Mapped(ctx, server.LocalAddr().(*net.UDPAddr).AddrPort()); err == nil {
		t.Error("Mapped() after the end = nil")
	}
}
