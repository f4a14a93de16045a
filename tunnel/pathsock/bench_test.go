package pathsock_test

import (
	"testing"
	"time"

	"github.com/apernet/quic-go"
	"golang.org/x/net/ipv4"

	"peerway/tunnel/pathsock"
)

// messages returns what QUIC reads into: 8 packets a call.
func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1452)}
		ms[i].OOB = make([]byte, 128)
	}
	return ms
}

// BenchmarkPacket is the cost of one packet of 1232 bytes, from WriteMsgUDP on
// one socket to ReadBatch on the other.
func BenchmarkPacket(b *testing.B) {
	for _, path := range []struct {
		name          string
		direct, relay bool
		batch         int
	}{
		{"direct", true, false, 1},
		{"direct-batch16", true, false, 16},
		{"relay", false, true, 1},
		{"relay-batch16", false, true, 16},
	} {
		b.Run(path.name, func(b *testing.B) {
			one, two := join(b, "127.0.0.1")
			one.route(two, path.direct, path.relay)
			two.route(one, path.direct, path.relay)
			packets := quicPackets(path.batch)
			oob := pathsock.Segments(path.batch, 1232)
			ms := messages(8)
			two.socket.SetReadDeadline(time.Now().Add(time.Hour))
			b.ReportAllocs()
			b.SetBytes(1232)
			for i := 0; b.Loop(); i++ {
				if i%path.batch != 0 {
					continue // the batch has been paid for
				}
				if _, _, err := one.socket.WriteMsgUDP(packets, oob, one.peer.Addr()); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < path.batch; {
					n, err := two.socket.ReadBatch(ms, 0)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
		})
	}
}

// BenchmarkWrite is the sender's part alone: nobody reads.
func BenchmarkWrite(b *testing.B) {
	one, two := join(b, "127.0.0.1")
	one.route(two, true, false)
	packets, oob := quicPackets(16), pathsock.Segments(16, 1232)
	b.ReportAllocs()
	b.SetBytes(int64(len(packets)))
	for b.Loop() {
		if _, _, err := one.socket.WriteMsgUDP(packets, oob, one.peer.Addr()); err != nil {
			b.Fatal(err)
		}
	}
}

// quicPackets returns n packets that look like QUIC with a short header.
func quicPackets(n int) []byte {
	b := make([]byte, n*1232)
	for i := range n {
		b[i*1232] = 0x40
	}
	return b
}

var _ quic.OOBCapablePacketConn = (*pathsock.Socket)(nil)
