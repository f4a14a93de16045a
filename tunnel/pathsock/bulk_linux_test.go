package pathsock_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apernet/quic-go"
)

// bulkSize is what one iteration carries per direction and contender: little
// enough that all contenders see the same weather on a busy machine.
const bulkSize = 32 << 20

// A contender is one way to carry QUIC from a socket to another one.
type contender struct {
	name           string
	client, server *quic.Conn
	wall, cpu      []time.Duration // of each round
}

// BenchmarkBulk carries QUIC through pathsock and through a plain
// *net.UDPConn, in turns in one process, in both directions. It reports the
// median Gbit/s of each and, for pathsock, by how much it is faster (-x) and
// how much less CPU time it takes (-cpu-x). Both ends are in this process.
func BenchmarkBulk(b *testing.B) {
	large := quicConfig()
	large.InitialPacketSize = 1452
	all := []*contender{
		bare(b),
		through(b, "1232", true, quicConfig()),
		through(b, "1452", true, large),
		through(b, "relay-1232", false, quicConfig()),
	}
	zeros := make([]byte, 256<<10)
	for b.Loop() {
		for _, c := range all {
			wall, cpu := time.Now(), cpuTime()
			oneWay(b, c.client, c.server, zeros)
			oneWay(b, c.server, c.client, zeros)
			c.wall = append(c.wall, time.Since(wall))
			c.cpu = append(c.cpu, cpuTime()-cpu)
		}
	}
	wall, cpu := median(all[0].wall), median(all[0].cpu)
	for _, c := range all {
		b.ReportMetric(2*bulkSize*8/1e9/median(c.wall), c.name+"-Gbit/s")
		if c != all[0] {
			b.ReportMetric(wall/median(c.wall), c.name+"-x")
			b.ReportMetric(cpu/median(c.cpu), c.name+"-cpu-x")
		}
	}
	b.ReportMetric(0, "ns/op") // of all contenders together: means nothing
}

// median returns the middle one of some durations, in seconds: a round during
// which the machine was busy elsewhere says nothing.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}

// cpuTime returns what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// through connects over pathsock.
func through(b *testing.B, name string, direct bool, cfg *quic.Config) *contender {
	b.Helper()
	one, two := join(b, "127.0.0.1")
	one.route(two, direct, !direct)
	two.route(one, direct, !direct)
	client, server := connect(b, one.socket, two.socket, one.peer.Addr(), cfg)
	return &contender{name: name, client: client, server: server}
}

// bare connects over plain UDP sockets, with QUIC's own packet size.
func bare(b *testing.B) *contender {
	b.Helper()
	var conns [2]*net.UDPConn
	for i := range conns {
		conn, err := net.ListenUDP("udp", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		conns[i] = conn
	}
	cfg := quicConfig()
	cfg.InitialPacketSize, cfg.DisablePathMTUDiscovery = 0, false
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: conns[1].LocalAddr().(*net.UDPAddr).Port}
	client, server := connect(b, conns[0], conns[1], to, cfg)
	return &contender{name: "bare", client: client, server: server}
}

// oneWay sends bulkSize bytes from one end to the other.
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
