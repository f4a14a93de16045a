package pathsock_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"peerway/tunnel/pathsock"
)

// recorder is a relay that keeps what it is given.
type recorder struct {
	mu      sync.Mutex
	packets [][]byte
}

func (r *recorder) WritePacket(p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets = append(r.packets, bytes.Clone(p))
	return errors.New("an error is a loss, and says nothing to QUIC")
}

// batch returns n packets of size bytes, the last of which is shorter, in one
// piece and in pieces.
func batch(n, size int) (joined []byte, packets [][]byte) {
	for i := range n {
		p := bytes.Repeat([]byte{byte(i) | 0x40}, size)
		if i == n-1 {
			p = p[:size/2+1]
		}
		packets = append(packets, p)
		joined = append(joined, p...)
	}
	return joined, packets
}

// receiveAll returns the next n packets that come to s, in order.
func receiveAll(t *testing.T, s *side, n int) (packets [][]byte) {
	t.Helper()
	ms := messages(8)
	for len(packets) < n {
		got, err := s.socket.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:got] {
			packets = append(packets, bytes.Clone(m.Buffers[0][:m.N]))
		}
	}
	return packets
}

func TestWriteBatch(t *testing.T) {
	for _, test := range []struct {
		name          string
		n, size       int
		direct, relay bool
		wantDirect    bool
	}{
		{name: "one packet", n: 1, size: 1200, direct: true, wantDirect: true},
		{name: "a batch", n: 16, size: 1200, direct: true, wantDirect: true},
		{name: "relayed", n: 16, size: 1200, relay: true},
		{name: "both", n: 16, size: 1200, direct: true, relay: true, wantDirect: true},
		{name: "more segments than the kernel takes", n: 200, size: 100, direct: true, wantDirect: true},
		{name: "larger than a datagram", n: 60, size: 1200, direct: true},
		{name: "one packet larger than a datagram", n: 1, size: 140000, direct: true},
		{name: "larger than a datagram, both", n: 60, size: 1200, direct: true, relay: true},
		{name: "nowhere", n: 4, size: 1200},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := newSide(t, "127.0.0.1", nil), newSide(t, "127.0.0.1", nil)
			relay := &recorder{}
			a.peer, b.peer = a.socket.Add(relay, 1), b.socket.Add(nil, 1)
			a.route(b, test.direct, test.relay)
			b.route(a, true, false)

			joined, packets := batch(test.n, test.size)
			n, _, err := a.socket.WriteMsgUDP(joined, pathsock.Segments(test.n, test.size), a.peer.Addr())
			if n != len(joined) || err != nil {
				t.Fatalf("wrote %d, %v; want %d", n, err, len(joined))
			}

			wantDirect, wantRelay := 0, 0
			if test.wantDirect {
				wantDirect = test.n
				if got := receiveAll(t, b, test.n); !slices.EqualFunc(got, packets, bytes.Equal) {
					t.Error("other packets came than were sent")
				}
			}
			if test.relay || test.direct && !test.wantDirect {
				wantRelay = test.n
				if !slices.EqualFunc(relay.packets, packets, bytes.Equal) {
					t.Error("other packets were relayed than were sent")
				}
			}
			s := a.peer.Stats()
			if s.Direct.Out != uint64(wantDirect) || s.Carrier.Out != uint64(wantRelay) || s.BytesOut != uint64(len(joined)) {
				t.Errorf("stats are %+v, want %d direct, %d relayed, %d bytes", s, wantDirect, wantRelay, len(joined))
			}
			if got, want := s.SendErrors > 0, test.direct && !test.wantDirect; got != want {
				t.Errorf("%d send errors, want some: %v", s.SendErrors, want)
			}
			if got := !s.Direct.Sent.IsZero(); got != test.direct {
				t.Errorf("time of the direct path is set: %v, want %v", got, test.direct)
			}
		})
	}
}

// TestSTUNAmongQUIC receives STUN and QUIC that the kernel has joined into one
// datagram.
func TestSTUNAmongQUIC(t *testing.T) {
	var stuns [][]byte
	a := newSide(t, "127.0.0.1", nil)
	b := newSide(t, "127.0.0.1", func(p []byte, _ netip.AddrPort) { stuns = append(stuns, bytes.Clone(p)) })
	a.peer, b.peer = a.socket.Add(nil, 1), b.socket.Add(nil, 1)
	a.route(b, true, false)
	b.route(a, true, false)

	joined, packets := batch(4, 100)
	joined[100], packets[1][0] = 0x00, 0x00
	if _, _, err := a.socket.WriteMsgUDP(joined, pathsock.Segments(4, 100), a.peer.Addr()); err != nil {
		t.Fatal(err)
	}
	quic := [][]byte{packets[0], packets[2], packets[3]}
	if got := receiveAll(t, b, 3); !slices.EqualFunc(got, quic, bytes.Equal) {
		t.Error("other packets came than were sent")
	}
	if !slices.EqualFunc(stuns, packets[1:2], bytes.Equal) {
		t.Errorf("%d packets passed for STUN, want 1", len(stuns))
	}
}

// TestRefusedDirectPath sends to addresses that the kernel refuses. QUIC must
// not hear of it, and the relay carries the packets.
func TestRefusedDirectPath(t *testing.T) {
	v4only, err := pathsock.Listen(pathsock.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer v4only.Close()
	for _, to := range []string{
		"[2001:db8::1]:9",      // on a socket without IPv6
		"192.0.2.1:9",          // from a loopback address: EINVAL
		"[::ffff:192.0.2.1]:9", // the same in disguise
	} {
		relay := &recorder{}
		p := v4only.Add(relay, 1)
		p.SetRoute(pathsock.Route{Direct: netip.MustParseAddrPort(to)})
		joined, packets := batch(4, 1200)
		if _, _, err := v4only.WriteMsgUDP(joined, pathsock.Segments(4, 1200), p.Addr()); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if !slices.EqualFunc(relay.packets, packets, bytes.Equal) {
			t.Errorf("%s: %d packets were relayed, want %d", to, len(relay.packets), len(packets))
		}
	}
}

func TestWriteErrors(t *testing.T) {
	a, b := join(t, "127.0.0.1")
	a.route(b, true, false)
	packet := []byte{0x40}

	if _, err := a.socket.WriteTo(packet, net.UDPAddrFromAddrPort(b.addr)); err == nil {
		t.Error("a packet was written to an address that is not a peer's")
	}
	if _, err := a.socket.WriteTo(packet, &net.IPAddr{}); err == nil {
		t.Error("a packet was written to an address that is not UDP")
	}
	gone := a.socket.Add(&recorder{}, 2)
	gone.Close()
	if n, err := a.socket.WriteTo(packet, gone.Addr()); n != 1 || err != nil {
		t.Errorf("to a closed peer: wrote %d, %v; want a silent loss", n, err)
	}
	nowhere := a.socket.Add(nil, 1)
	if n, err := a.socket.WriteTo(packet, nowhere.Addr()); n != 1 || err != nil {
		t.Errorf("over no relay: wrote %d, %v; want a silent loss", n, err)
	}
	a.socket.Close()
	if _, err := a.socket.WriteTo(packet, a.peer.Addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("to a closed socket: %v, want %v", err, net.ErrClosed)
	}
}

// TestECN sends with each mark and wants it to arrive, on the IPv6 socket that
// carries both families.
func TestECN(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		for mark := range byte(4) {
			a, b := join(t, ip)
			a.route(b, true, false)
			b.route(a, true, false)
			if err := pathsock.ReportECN(b.socket); err != nil { // QUIC does it elsewhere
				t.Fatal(err)
			}
			packet, _ := batch(1, 1200)
			// QUIC writes the message for the fictitious address, which is IPv6.
			oob := pathsock.ECN(mark)
			if _, _, err := a.socket.WriteMsgUDP(packet, oob, a.peer.Addr()); err != nil {
				t.Fatal(err)
			}
			ms := messages(1)
			if _, err := b.socket.ReadBatch(ms, 0); err != nil {
				t.Fatal(err)
			}
			if got, want := ms[0].OOB[:ms[0].NN], oob; !bytes.Equal(got, want) {
				t.Errorf("%s: ECN %d arrives as %x, want %x", ip, mark, got, want)
			}
		}
	}
}
