package pathsock

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/ipv4"

	"peerway/signal/datagram"
)

// What is done for every packet allocates nothing. TestPacketsAllocateNothing
// holds each of these steps to that, and BenchmarkHot measures it.

const (
	hotPacket = PacketSize
	hotBatch  = 14 // packets in a batch of QUIC's
)

// hotMessages returns what QUIC reads into.
func hotMessages() []ipv4.Message {
	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1452)}
		ms[i].OOB = make([]byte, 128)
	}
	return ms
}

// hotPackets returns n packets that look like QUIC.
func hotPackets(n int) []byte {
	b := make([]byte, n*hotPacket)
	for i := range n {
		b[i*hotPacket] = 0x40
	}
	return b
}

// hotSocket returns a socket that knows one peer at an address, without a
// kernel beneath.
func hotSocket() (*Socket, *Peer) {
	s := new(Socket)
	s.in.init()
	s.wrapped.New = func() any { return new([datagram.MaxBatch]byte) }
	p := s.Add(nil, 1)
	p.Authenticate(hotAddress)
	return s, p
}

var hotAddress = netip.MustParseAddrPort("192.0.2.1:4433")

// splitting cuts what the kernel has joined into packets for QUIC.
func splitting() (packets int, step func()) {
	s, _ := hotSocket()
	joined, ms := hotPackets(3*hotBatch), hotMessages()
	received := make([]datagram.Datagram, 1)
	return 3 * hotBatch, func() {
		received[0] = datagram.Datagram{Data: joined, From: hotAddress, Segment: hotPacket, ECN: 2}
		s.account(received)
		for n := 1; n > 0; n, _ = s.handOverReceived(ms) {
		}
	}
}

// injecting passes packets of a relay to the reader.
func injecting() (packets int, step func()) {
	s, p := hotSocket()
	packet, ms := hotPackets(1), hotMessages()
	return hotBatch, func() {
		for range hotBatch {
			p.Inject(packet)
		}
		s.reader.injected, s.reader.handed = s.in.take(s.reader.injected), 0
		for n := 1; n > 0; n, _ = s.handOverInjected(ms) {
		}
	}
}

// joining makes one batch of three, as when the kernel is busy.
func joining() (packets int, step func()) {
	j, batch, ctx := newJoiner(), hotPackets(hotBatch), context.Background()
	return 3 * hotBatch, func() {
		for range 3 {
			j.put(batch, datagram.Control{Segment: hotPacket})
		}
		j.take(ctx)
	}
}

// wrapping puts the header for a relay before each packet of a batch.
func wrapping() (packets int, step func()) {
	s, _ := hotSocket()
	batch := hotPackets(3 * hotBatch)
	send := func([]byte, datagram.Control) error { return nil }
	return 3 * hotBatch, func() { s.wrap(batch, datagram.Control{Segment: hotPacket}, 1, send) }
}

var hotSteps = []struct {
	name   string
	make   func() (packets int, step func())
	allows float64 // allocations in a step
}{
	{"split", splitting, 0},
	{"inject", injecting, hotBatch / 2}, // under the race detector a sync.Pool forgets some of what it holds
	{"join", joining, 0},
	{"wrap", wrapping, 0},
}

func TestPacketsAllocateNothing(t *testing.T) {
	for _, hot := range hotSteps {
		_, step := hot.make()
		for range 3 { // takes the memory that it keeps
			step()
		}
		if got := testing.AllocsPerRun(1000, step); got > hot.allows {
			t.Errorf("%s: %v allocations in a step, want none", hot.name, got)
		}
	}
}

// BenchmarkHot is the cost of a step, and of a packet in it.
func BenchmarkHot(b *testing.B) {
	for _, hot := range hotSteps {
		b.Run(hot.name, func(b *testing.B) {
			packets, step := hot.make()
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets), "ns/packet")
		})
	}
}

// BenchmarkJoiner is what a batch costs when another goroutine sends it.
func BenchmarkJoiner(b *testing.B) {
	j := newJoiner()
	ctx, cancel := context.WithCancel(b.Context())
	var taking sync.WaitGroup
	taking.Go(func() {
		for ok := true; ok; {
			_, _, ok = j.take(ctx)
		}
	})
	batch := hotPackets(hotBatch)
	b.ReportAllocs()
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		j.put(batch, datagram.Control{Segment: hotPacket})
	}
	cancel()
	j.mu.Lock()
	j.changed.Broadcast()
	j.mu.Unlock()
	taking.Wait()
}
