package relay_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"peerway/signal/datagram"
	"peerway/signal/relay"
)

// A relay that listens at all addresses of its host, of both versions of IP, is reached at
// any of them, and two ends may use different ones.
func TestServeAtManyAddresses(t *testing.T) {
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	ctx, cancel := context.WithCancel(t.Context())
	key := relay.Key{5}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() { relay.NewServer(key, 100).Serve(ctx, conn, second) })
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	in := make([]byte, 2000)
	for number, addrs := range [][2]string{{"127.0.0.2", "127.0.0.3"}, {"127.0.0.4", "::1"}, {"::1", "127.0.0.1"}} {
		var ends [2]end
		for i, addr := range addrs {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ends[i] = end{c, relay.NewBinding(key.Grant(uint64(number), uint8(i), pair, time.Now().Add(time.Minute), relay.Limits{}))}
			ends[i].bind(t)
			wantMapped(t, c)
		}
		for i, e := range ends {
			packet := append(relay.AppendHeader(nil, uint64(number)), "hello"...)
			e.Write(packet)
			ends[1-i].SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := ends[1-i].Read(in); err != nil || !bytes.Equal(in[:n], packet) {
				t.Errorf("from %s to %s: %x, %v", addrs[i], addrs[1-i], in[:n], err)
			}
		}
	}
}

// wantMapped asks with STUN on a socket that takes answers from nowhere else.
func wantMapped(t *testing.T, c *net.UDPConn) {
	t.Helper()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	c.Write(request.Raw)
	answer := &stun.Message{Raw: make([]byte, 500)}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(answer.Raw)
	if err != nil {
		t.Fatalf("at %v: %v", c.RemoteAddr(), err)
	}
	answer.Raw = answer.Raw[:n]
	var mapped stun.XORMappedAddress
	if err := answer.Decode(); err != nil || mapped.GetFrom(answer) != nil || mapped.Port != c.LocalAddr().(*net.UDPAddr).Port {
		t.Errorf("at %v: %v says %v, %v", c.RemoteAddr(), answer, mapped, err)
	}
}

// BenchmarkServe sends batches through a relay, from one end to the other.
func BenchmarkServe(b *testing.B) {
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(b.Context())
	key := relay.Key{5}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() { relay.NewServer(key, 100).Serve(ctx, conn, nil) })
	b.Run("packets", func(b *testing.B) { benchmarkServe(b, conn, key, 1) })
	b.Run("batches", func(b *testing.B) { benchmarkServe(b, conn, key, 32) })
}

// benchmarkServe sends so many packets with one system call, and waits for them.
func benchmarkServe(b *testing.B, conn *net.UDPConn, key relay.Key, packets int) {
	addr := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: conn.LocalAddr().(*net.UDPAddr).Port}
	var ends [2]*net.UDPConn
	for i := range ends {
		c, err := net.DialUDP("udp", nil, addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		e := end{c, relay.NewBinding(key.Grant(uint64(packets), uint8(i), pair, time.Now().Add(time.Hour), relay.Limits{}))}
		e.bind(b)
		c.SetDeadline(time.Time{})
		ends[i] = c
	}
	const size = 1200
	packet := make([]byte, size)
	relay.AppendHeader(packet[:0], uint64(packets))
	batch := bytes.Repeat(packet, packets)
	in, err := datagram.NewReceiver(ends[1])
	if err != nil {
		b.Fatal(err)
	}
	oob := datagram.Control{Segment: size}.Append(nil, true)
	if packets == 1 {
		oob = nil
	}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ends[0].WriteMsgUDP(batch, oob, nil); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(batch); {
			received, err := in.Receive(func() bool { return true })
			if err != nil {
				b.Fatal(err)
			}
			for _, d := range received {
				got += len(d.Data)
			}
		}
	}
}
