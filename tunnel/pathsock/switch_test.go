package pathsock_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/apernet/quic-go"

	"peerway/tunnel/pathsock"
)

// TestSwitch changes the route of both ends in the middle of a transfer, more
// than once, and wants no byte lost and no pause.
func TestSwitch(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		a, b := join(t, "127.0.0.1")
		prepare(a.socket)
		prepare(b.socket)
		a.run(t)
		b.run(t)
		client, server := connect(t, a.socket, b.socket, a.peer.Addr(), quicConfig())

		const step = 1 << 20
		routes := []struct{ direct, relay bool }{
			{false, true}, {true, false}, {true, true}, {false, true}, {true, false},
		}
		next, last, pause := 0, time.Now(), time.Duration(0)
		transfer(t, client, server, int64(len(routes))*step, func(at int64) {
			pause, last = max(pause, time.Since(last)), time.Now()
			if next < len(routes) && at >= int64(next)*step {
				a.route(b, routes[next].direct, routes[next].relay)
				b.route(a, routes[next].direct, routes[next].relay)
				next++
			}
		})
		if limit := 2 * time.Second; pause > limit {
			t.Errorf("longest pause is %v, want less than %v", pause, limit)
		}
		s := b.peer.Stats()
		if s.Direct.In == 0 || s.Carrier.In == 0 {
			t.Errorf("not both paths were used: %+v", s)
		}
	})
}

// TestOneWay routes one end directly while the other one uses the relay only,
// as happens between the two ends' decisions.
func TestOneWay(t *testing.T) {
	a, b := join(t, "127.0.0.1")
	a.route(b, true, false)
	b.peer.Authenticate(a.addr)
	client, server := connect(t, a.socket, b.socket, a.peer.Addr(), quicConfig())
	transfer(t, client, server, 1<<20, nil)
	transfer(t, server, client, 1<<20, nil)
	if s := a.peer.Stats(); s.Direct.In != 0 || s.Carrier.Out != 0 {
		t.Errorf("packets took the wrong way: %+v", s)
	}
}

// TestPacketConn gives QUIC no more than a net.PacketConn, as on Windows.
func TestPacketConn(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		a, b := join(t, "127.0.0.1")
		prepare(a.socket)
		prepare(b.socket)
		a.route(b, true, true)
		b.route(a, true, true)
		client, server := connect(t, struct{ net.PacketConn }{a.socket}, struct{ net.PacketConn }{b.socket},
			a.peer.Addr(), quicConfig())
		transfer(t, client, server, 1<<20, nil)
		transfer(t, server, client, 1<<20, nil)
	})
}

// TestManyPeers has one socket talk to several others at once, while routes
// change and peers come and go.
func TestManyPeers(t *testing.T) {
	hub := newSide(t, "127.0.0.1", nil)
	serverTLS, clientTLS := tlsConfigs(t)
	serve := &quic.Transport{Conn: hub.socket}
	t.Cleanup(func() { serve.Close() })
	ln, err := serve.Listen(serverTLS, quicConfig())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var accepting sync.WaitGroup
	defer accepting.Wait()
	defer ln.Close()
	accepting.Go(func() {
		for err := error(nil); err == nil; {
			_, err = ln.Accept(ctx)
		}
	})

	var all sync.WaitGroup
	defer all.Wait()
	for range 4 {
		spoke := newSide(t, "127.0.0.1", nil)
		var atHub *pathsock.Peer
		spoke.peer = spoke.socket.Add(relayFunc(func(p []byte) error { atHub.Inject(p); return nil }), 1)
		atHub = hub.socket.Add(relayFunc(func(p []byte) error { spoke.peer.Inject(p); return nil }), 1)
		dial := &quic.Transport{Conn: spoke.socket}
		t.Cleanup(func() { dial.Close() })
		all.Go(func() {
			defer atHub.Close()
			for round := range 4 {
				direct := round%2 == 1
				spoke.route(hub, direct, !direct)
				(&side{peer: atHub}).route(spoke, direct, !direct)
				conn, err := dial.Dial(ctx, spoke.peer.Addr(), clientTLS, quicConfig())
				if err != nil {
					t.Error("dial:", err)
					return
				}
				_ = atHub.Stats()
				conn.CloseWithError(0, "")
			}
		})
	}
}

// TestTransportClose closes the QUIC transport, which must not hang, and uses
// the socket again.
func TestTransportClose(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		a, b := join(t, "127.0.0.1")
		prepare(a.socket)
		prepare(b.socket)
		serverTLS, clientTLS := tlsConfigs(t)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ta, tb := &quic.Transport{Conn: a.socket}, &quic.Transport{Conn: b.socket}
			if _, err := tb.Listen(serverTLS, quicConfig()); err != nil {
				t.Fatal(err)
			}
			if _, err := ta.Dial(ctx, a.peer.Addr(), clientTLS, quicConfig()); err != nil {
				t.Fatal(err)
			}
			ta.Close()
			tb.Close()
		}
	})
}

// TestRelayFloodAndDirect keeps the relay so busy that its queue never empties,
// and wants direct packets to be read all the same.
func TestRelayFloodAndDirect(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		heard := make(chan struct{}, 1)
		a := newSide(t, "127.0.0.1", func([]byte, netip.AddrPort) {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
		prepare(a.socket)
		a.peer = a.socket.Add(nil, 1)
		b := newSide(t, "127.0.0.1", nil)
		if err := b.socket.WriteReal([]byte{0, 1}, a.addr); err != nil {
			t.Fatal(err)
		}
		ms := messages(8)
		packet := []byte{0x40, 1, 2, 3}
		a.socket.SetReadDeadline(time.Now().Add(patience))
		for range 8 {
			a.peer.Inject(packet)
		}
		for {
			n, err := a.socket.ReadBatch(ms, 0)
			if err != nil {
				t.Fatal("the direct packet was never read: ", err)
			}
			for range n { // one in for every one out
				a.peer.Inject(packet)
			}
			select {
			case <-heard:
				return
			default:
			}
		}
	})
}
