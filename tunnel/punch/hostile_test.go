package punch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	"peerway/tunnel/punch"
)

// Whoever floods the socket with what looks like STUN, also with damaged copies
// of genuine packets, stops nothing and fills nothing.
func TestMalformedPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		n.server("203.0.113.1:3478")
		a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
		var seen [][]byte
		n.setTap(func(packet []byte) { seen = append(seen, packet) })
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true, Mapped: mappings(t, a, []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:3478")})})
		two := dial(t, b.Puncher, punch.AttemptConfig{})
		connect(t, one, two.Local())
		connect(t, two, one.Local())
		selected(t, one)
		selected(t, two)
		synctest.Wait()
		n.setTap(nil)

		rnd := rand.New(rand.NewPCG(1, 2))
		before := heap()
		for i := range 10_000 {
			packet := damage(rnd, seen[i%len(seen)])
			from := b.addr
			if i%2 == 0 {
				from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), uint16(i))
			}
			a.Deliver(packet, from)
			a.Deliver(packet, netip.AddrPort{})
		}
		if grown := int64(heap()) - int64(before); grown > 256<<10 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		time.Sleep(time.Minute)
		select {
		case e := <-one.Events():
			t.Errorf("event %T %v, want none", e, e)
		default:
		}
		n.setCut(true)
		if e, ok := (<-one.Events()).(punch.Lost); !ok {
			t.Errorf("event %T, want Lost", e)
		}
	})
}

// damage returns packet cut, changed, or replaced by noise behind a good header.
func damage(rnd *rand.Rand, packet []byte) []byte {
	packet = append([]byte(nil), packet...)
	switch rnd.IntN(3) {
	case 0:
		packet = packet[:rnd.IntN(len(packet))]
		if len(packet) >= 20 {
			packet[2], packet[3] = byte((len(packet)-20)>>8), byte(len(packet)-20)
		}
	case 1:
		for range 1 + rnd.IntN(4) {
			packet[rnd.IntN(len(packet))] = byte(rnd.Uint32())
		}
	case 2:
		for i := 20; i < len(packet); i++ {
			packet[i] = byte(rnd.Uint32())
		}
	}
	return packet
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The silence of a path that was replayed to death: copies of old packets do
// not keep a dead path alive for ever, because answers count once.
func TestReplayedAnswersCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
		var answers [][]byte
		n.setTap(func(packet []byte) {
			if packet[0] == 1 {
				answers = append(answers, packet)
			}
		})
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		two := dial(t, b.Puncher, punch.AttemptConfig{})
		connect(t, one, two.Local())
		connect(t, two, one.Local())
		selected(t, one)
		n.setTap(nil)
		n.setCut(true)
		ctx, cancel := context.WithCancel(t.Context())
		var replaying sync.WaitGroup
		defer replaying.Wait()
		defer cancel()
		replaying.Go(func() {
			for ctx.Err() == nil {
				for _, answer := range answers {
					a.Deliver(answer, b.addr)
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		if e, ok := (<-one.Events()).(punch.Lost); !ok || time.Since(start) > 13*time.Second {
			t.Errorf("event %T after %v, want Lost", e, time.Since(start))
		}
	})
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := newNetwork(0).host("192.0.2.1:1111", open, "")
	for range 100 { // it may be ready before it looks
		if a, err := h.Dial(ctx, punch.AttemptConfig{}); err == nil {
			a.Close()
		}
	}
}

// Many attempts at once, closed at any moment.
func TestManyAttempts(t *testing.T) {
	n := newNetwork(time.Millisecond)
	a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			one, err := a.Dial(t.Context(), punch.AttemptConfig{Controlling: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer one.Close()
			two, err := b.Dial(t.Context(), punch.AttemptConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			defer two.Close()
			if one.Connect(two.Local()) != nil || two.Connect(one.Local()) != nil {
				t.Error("Connect failed")
			}
			if i%2 == 0 {
				<-one.Events()
			}
		})
	}
	all.Wait()
}

// However many addresses a peer names, only so many get packets.
func TestManyCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a := n.host("192.0.2.1:1111", open, "")
		asked := make(map[netip.AddrPort]int)
		n.tapTo = func(to netip.AddrPort) { asked[to]++ }
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		remote := punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}
		connect(t, one, remote)
		for i := range 10 {
			var more []string
			for j := range 16 {
				kind := map[bool]string{true: "host", false: "srflx"}[j < 6] // as many as a peer has
				more = append(more, fmt.Sprintf("h4 1 udp 1 198.51.%d.%d 9 typ %s", 100+i, j, kind))
			}
			if err := one.AddRemote(more); err != nil {
				t.Error(err)
			}
		}
		if err := one.AddRemote(make([]string, 17)); !errors.Is(err, punch.ErrDescription) {
			t.Errorf("AddRemote of 17 candidates = %v", err)
		}
		if e, ok := (<-one.Events()).(punch.Failed); !ok {
			t.Errorf("event %T, want Failed", e)
		}
		if len(asked) != 10 {
			t.Errorf("%d addresses got packets, want 10", len(asked))
		}
		for to, times := range asked {
			if times < 60 || times > 90 {
				t.Errorf("%v got %d packets", to, times)
			}
		}
	})
}

func BenchmarkAttempt(b *testing.B) {
	n := newNetwork(0)
	h, peer := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		var id signal.PeerID // a new one each time: what one may cost is bounded
		binary.NativeEndian.PutUint32(id[:], i)
		one, err1 := h.Dial(b.Context(), punch.AttemptConfig{Peer: id, Controlling: true})
		two, err2 := peer.Dial(b.Context(), punch.AttemptConfig{Peer: id})
		if err1 != nil || err2 != nil {
			b.Fatal(err1, err2)
		}
		one.Connect(two.Local())
		two.Connect(one.Local())
		<-one.Events()
		<-two.Events()
		one.Close()
		two.Close()
	}
}
