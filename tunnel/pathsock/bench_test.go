package pathsock_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/apernet/quic-go"
	"golang.org/x/net/ipv4"

	"peerway/tunnel/pathsock"
)

// bulkSize is what one iteration of a bulk benchmark carries.
const bulkSize = 64 << 20

// BenchmarkBulk carries QUIC through pathsock and, in the same process and run,
// through a plain *net.UDPConn. Compare the MB/s.
func BenchmarkBulk(b *testing.B) {
	large := quicConfig()
	large.InitialPacketSize = 1452
	for _, size := range []struct {
		name string
		cfg  *quic.Config
	}{{"pathsock-1232", quicConfig()}, {"pathsock-1452", large}} {
		b.Run(size.name, func(b *testing.B) {
			one, two := join(b, "127.0.0.1")
			one.route(two, true, false)
			two.route(one, true, false)
			client, server := connect(b, one.socket, two.socket, one.peer.Addr(), size.cfg)
			bulk(b, client, server)
		})
	}
	b.Run("pathsock-relay-1232", func(b *testing.B) {
		one, two := join(b, "127.0.0.1")
		client, server := connect(b, one.socket, two.socket, one.peer.Addr(), quicConfig())
		bulk(b, client, server)
	})
	b.Run("bare", func(b *testing.B) {
		one, two := bareConn(b), bareConn(b)
		cfg := quicConfig()
		cfg.InitialPacketSize, cfg.DisablePathMTUDiscovery = 0, false
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: two.LocalAddr().(*net.UDPAddr).Port}
		client, server := connect(b, one, two, to, cfg)
		bulk(b, client, server)
	})
}

func bareConn(b *testing.B) *net.UDPConn {
	b.Helper()
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// bulk sends zeros from one end to the other, in both directions by turns.
func bulk(b *testing.B, client, server *quic.Conn) {
	b.SetBytes(2 * bulkSize)
	b.ReportAllocs()
	zeros := make([]byte, 256<<10)
	for b.Loop() {
		oneWay(b, client, server, zeros)
		oneWay(b, server, client, zeros)
	}
}

func oneWay(b *testing.B, from, to *quic.Conn, zeros []byte) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	out, err := from.OpenUniStreamSync(ctx)
	if err != nil {
		b.Fatal(err)
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sent := make(chan error, 1)
	sending.Go(func() {
		defer out.Close()
		for range bulkSize / len(zeros) {
			if _, err := out.Write(zeros); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	})
	in, err := to.AcceptUniStream(ctx)
	if err != nil {
		b.Fatal(err)
	}
	into := make([]byte, 256<<10)
	n := 0
	for err == nil {
		var m int
		m, err = in.Read(into)
		n += m
	}
	if err != io.EOF || n != bulkSize {
		b.Fatalf("received %d bytes, %v", n, err)
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

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
