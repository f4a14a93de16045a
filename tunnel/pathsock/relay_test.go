package pathsock_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"peerway/signal/relay"
	"peerway/tunnel/pathsock"
)

const relaySession = 7

// startRelay starts a relay on UDP and returns its address and key.
func startRelay(t testing.TB) (netip.AddrPort, relay.Key) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	key := relay.Key{1}
	server := relay.NewServer(key, 100)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ctx, conn, nil) })
	t.Cleanup(func() { cancel(); serving.Wait(); conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), key
}

// joinRelayed is join, with a place for both at a relay on UDP. They ask for it once
// somebody reads their sockets.
func joinRelayed(t testing.TB) (a, b *side, bind func()) {
	t.Helper()
	addr, key := startRelay(t)
	sides, answers := [2]*side{}, [2]chan []byte{}
	for i := range sides {
		answers[i] = make(chan []byte, 8)
		sides[i] = newSide(t, "127.0.0.1", func(p []byte, from netip.AddrPort) {
			if from == addr {
				answers[i] <- append([]byte(nil), p...)
			}
		})
	}
	for i, s := range sides {
		other := sides[1-i]
		s.peer = s.socket.Add(relayFunc(func(p []byte) error { other.peer.Inject(p); return nil }), relaySession)
	}
	return sides[0], sides[1], func() {
		for i, s := range sides {
			b := relay.NewBinding(key.Grant(relaySession, uint8(i), 1, time.Now().Add(time.Minute), relay.Limits{}))
			for !b.Bound() {
				if packet := b.Tick(time.Now()); packet != nil {
					if err := s.socket.WriteReal(packet, addr); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case p := <-answers[i]:
					b.Hear(time.Now(), p)
				case <-time.After(20 * time.Millisecond):
				case <-t.Context().Done():
					t.Fatal("not bound")
				}
			}
			s.peer.Accept(addr)
		}
		for _, s := range sides {
			s.peer.SetRoute(pathsock.Route{Relay: addr})
		}
	}
}

// TestRelay moves a connection from the carrier to a relay on UDP, and on to a direct
// path.
func TestRelay(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		for _, size := range []uint16{1232, pathsock.PacketSize} {
			a, b, bind := joinRelayed(t)
			prepare(a.socket)
			prepare(b.socket)
			a.run(t)
			b.run(t)
			cfg := quicConfig()
			cfg.InitialPacketSize = size
			client, server := connect(t, a.socket, b.socket, a.peer.Addr(), cfg)
			transfer(t, client, server, 1<<20, nil)
			before := a.peer.Stats()
			if before.Relay.In+before.Relay.Out+before.Direct.In != 0 {
				t.Errorf("packets took the wrong way: %+v", before)
			}
			bind()
			transfer(t, client, server, 4<<20, nil)
			transfer(t, server, client, 4<<20, nil)
			after := a.peer.Stats()
			if after.Relay.In < 1000 || after.Relay.Out < 1000 || after.Relay.Heard.IsZero() || after.Direct.In != 0 {
				t.Errorf("packets took the wrong way: %+v", after)
			}
			a.route(b, true, false)
			b.route(a, true, false)
			transfer(t, client, server, 1<<20, nil)
			if s := a.peer.Stats(); s.Direct.Out == 0 {
				t.Errorf("packets took the wrong way: %+v", s)
			}
		}
	})
}

// TestAsk asks on paths that are not in use.
func TestAsk(t *testing.T) {
	a, b, bind := joinRelayed(t)
	client, server := connect(t, a.socket, b.socket, a.peer.Addr(), quicConfig())
	bind()
	transfer(t, client, server, 1<<10, nil)
	if !a.peer.Answers(b.addr, false).At.IsZero() {
		t.Error("answered before it was asked")
	}
	a.peer.Authenticate(b.addr)
	a.peer.Ask(b.addr, false, pathsock.Doubt) // which does not know us
	b.peer.Authenticate(a.addr)
	until := func(to netip.AddrPort, q pathsock.Question) (answers pathsock.Answers) {
		t.Helper()
		for deadline := time.Now().Add(patience); answers.At.IsZero(); answers = a.peer.Answers(to, false) {
			if time.Now().After(deadline) {
				t.Fatal("no answer")
			}
			a.peer.Ask(to, false, q)
			<-time.After(10 * time.Millisecond) // until an answer may have come
		}
		if answers.RTT <= 0 || answers.RTT > patience || time.Since(answers.At) > patience {
			t.Errorf("%+v", answers)
		}
		return answers
	}
	if answers := until(b.addr, pathsock.Doubt); answers.Got != 0 {
		t.Errorf("%+v: doubts are counted", answers)
	}
	if b.peer.Stats().Direct.Doubted.IsZero() {
		t.Error("the doubt was not heard")
	}
	carrier := netip.AddrPort{}
	if answers := until(carrier, pathsock.Survey); answers.Got == 0 {
		t.Errorf("of the carrier: %+v", answers)
	}
	before := b.peer.Stats().Carrier
	until(carrier, pathsock.Doubt)
	if after := b.peer.Stats().Carrier; after != before {
		t.Errorf("questions over the carrier count as packets: %+v, before %+v", after, before)
	}
}
