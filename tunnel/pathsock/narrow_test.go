package pathsock_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/tunnel/pathsock"
)

// A middlebox carries packets between two sockets, up to a size that may change.
type middlebox struct {
	limit   atomic.Int64 // larger payloads are dropped without a word
	largest atomic.Int64 // that has passed
	carried atomic.Int64
	at      [2]netip.AddrPort // where it is reached by each end
}

// newMiddlebox puts a box between a and b and routes both ends through it.
func newMiddlebox(t *testing.T, limit int64, a, b *side) *middlebox {
	t.Helper()
	box := &middlebox{}
	box.limit.Store(limit)
	var carrying sync.WaitGroup
	t.Cleanup(carrying.Wait)
	var ports [2]*net.UDPConn // a talks to the first, b to the second
	for i := range ports {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadBuffer(4 << 20)
		t.Cleanup(func() { conn.Close() })
		ports[i] = conn
	}
	ends := [2]*side{a, b}
	for i := range ports {
		carrying.Go(func() { box.carry(ports[i], ports[1-i], ends[1-i].addr) })
		box.at[i] = ports[i].LocalAddr().(*net.UDPAddr).AddrPort()
		ends[i].route(&side{addr: box.at[i]}, true, false)
	}
	return box
}

func (m *middlebox) carry(from, out *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 2048)
	for {
		n, _, err := from.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if int64(n) > m.limit.Load() {
			continue
		}
		m.largest.Store(max(m.largest.Load(), int64(n)))
		m.carried.Add(1)
		out.WriteToUDPAddrPort(buf[:n], to)
	}
}

// TestNarrowPath sends packets of the largest size over a path that carries
// 1280 bytes only, over one that carries them all, and over one that becomes
// narrow in the middle of a transfer.
func TestNarrowPath(t *testing.T) {
	const narrow, wide = 1280 - 28, 1500 - 28
	config := quicConfig()
	config.InitialPacketSize = pathsock.PacketSize
	t.Run("narrow", func(t *testing.T) {
		a, b := join(t, "127.0.0.1")
		box := newMiddlebox(t, narrow, a, b)
		client, server := connect(t, a.socket, b.socket, a.peer.Addr(), config)
		transfer(t, client, server, 2<<20, nil)
		transfer(t, server, client, 2<<20, nil)
		if box.carried.Load() == 0 {
			t.Error("nothing went through the box")
		}
	})
	t.Run("wide", func(t *testing.T) {
		a, b := join(t, "127.0.0.1")
		box := newMiddlebox(t, wide, a, b)
		client, server := connect(t, a.socket, b.socket, a.peer.Addr(), config)
		transfer(t, client, server, 2<<20, nil)
		if got := box.largest.Load(); got != pathsock.PacketSize {
			t.Errorf("largest packet on a wide path has %d bytes, want %d", got, pathsock.PacketSize)
		}
	})
	t.Run("becomes narrow", func(t *testing.T) {
		a, b := join(t, "127.0.0.1")
		box := newMiddlebox(t, wide, a, b)
		client, server := connect(t, a.socket, b.socket, a.peer.Addr(), config)
		transfer(t, client, server, 4<<20, func(at int64) {
			if at > 1<<20 {
				box.limit.Store(narrow)
			}
		})
	})
}

// A path that lets only short packets through answers a survey, and no Proof.
func TestProof(t *testing.T) {
	a, b := join(t, "127.0.0.1")
	box := newMiddlebox(t, 1500, a, b)
	connect(t, a.socket, b.socket, a.peer.Addr(), quicConfig())
	box.limit.Store(300)
	answered := func(q pathsock.Question) bool {
		before := a.peer.Answers(box.at[0], false).At
		for range 50 {
			a.peer.Ask(box.at[0], false, q)
			<-time.After(5 * time.Millisecond) // until an answer may have come
			if a.peer.Answers(box.at[0], false).At.After(before) {
				return true
			}
		}
		return false
	}
	if !answered(pathsock.Survey) {
		t.Error("a survey is not answered")
	}
	if answered(pathsock.Proof) {
		t.Error("a proof is answered that cannot have arrived")
	}
	box.limit.Store(1280 - 28)
	if !answered(pathsock.Proof) {
		t.Error("a proof is not answered on a path of 1280 bytes")
	}
}
