package pathsock_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"peerway/tunnel/pathsock"
)

// A packet is what a test has read from a socket.
type packet struct {
	data []byte
	from net.Addr
	err  error
}

// readInto reads socket into the returned channel until it fails, and passes
// the failure on. The channel is closed, and the goroutine gone, after that.
func readInto(wg *sync.WaitGroup, socket *pathsock.Socket) <-chan packet {
	packets := make(chan packet, 4096)
	wg.Go(func() {
		defer close(packets)
		ms := messages(8)
		for {
			n, err := socket.ReadBatch(ms, 0)
			for _, m := range ms[:n] {
				packets <- packet{data: bytes.Clone(m.Buffers[0][:m.N]), from: m.Addr}
			}
			if err != nil {
				packets <- packet{err: err}
				return
			}
		}
	})
	return packets
}

// next returns the next packet.
func next(t *testing.T, packets <-chan packet) packet {
	t.Helper()
	select {
	case p := <-packets:
		return p
	case <-time.After(patience):
		t.Fatal("no packet")
		return packet{}
	}
}

func TestInjectWakesReader(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		a := newSide(t, "127.0.0.1", nil)
		prepare(a.socket)
		a.peer = a.socket.Add(nil, 1)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer a.socket.Close()
		packets := readInto(&reading, a.socket)

		for i := range 1000 {
			for i%2 == 0 && !a.socket.Parked() {
				runtime.Gosched()
			}
			want := []byte{0x40, byte(i), byte(i >> 8)}
			a.peer.Inject(want)
			if got := next(t, packets); !bytes.Equal(got.data, want) || got.from != net.Addr(a.peer.Addr()) {
				t.Fatalf("read %x from %v, want %x from %v", got.data, got.from, want, a.peer.Addr())
			}
		}
	})
}

func TestQueueOverflow(t *testing.T) {
	a := newSide(t, "127.0.0.1", nil)
	flood, quiet := a.socket.Add(nil, 1), a.socket.Add(nil, 1)
	for i := range pathsock.QueuePerPeer + 10 {
		flood.Inject([]byte{0x40, byte(i), byte(i >> 8)})
	}
	quiet.Inject([]byte{0x41})

	if got, want := flood.Stats().Dropped, uint64(10); got != want {
		t.Errorf("%d packets dropped, want %d", got, want)
	}
	ms := messages(8)
	for i := 0; i <= pathsock.QueuePerPeer; {
		n, err := a.socket.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			want := []byte{0x40, byte(i), byte(i >> 8)}
			if i == pathsock.QueuePerPeer {
				want = []byte{0x41} // the other peer's, unharmed
			}
			if got := m.Buffers[0][:m.N]; !bytes.Equal(got, want) {
				t.Fatalf("packet %d is %x, want %x", i, got, want)
			}
			i++
		}
	}
	flood.Inject([]byte{0x42})
	if n, err := a.socket.ReadBatch(ms, 0); n != 1 || err != nil {
		t.Errorf("after the flood: read %d packets, %v; want 1", n, err)
	}
}

func TestInjectRefuses(t *testing.T) {
	a := newSide(t, "127.0.0.1", nil)
	p, closed := a.socket.Add(nil, 1), a.socket.Add(nil, 1)
	p.Inject(nil)
	p.Inject([]byte{0x00, 0x01, 0x02}) // STUN
	p.Inject(append([]byte{0x40}, make([]byte, 1500)...))
	closed.Inject([]byte{0x40}) // is waiting when its peer goes
	closed.Close()
	closed.Inject([]byte{0x40})
	p.Inject([]byte{0x43})

	ms := messages(8)
	n, err := a.socket.ReadBatch(ms, 0)
	if n != 1 || err != nil || ms[0].Buffers[0][0] != 0x43 {
		t.Errorf("read %d packets, %v; want the last one only", n, err)
	}
}

// TestStrangersAndSTUN sends from an address before, while and after it is
// authenticated.
func TestStrangersAndSTUN(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
			testStrangersAndSTUN(t, ip, prepare)
		})
	}
}

func testStrangersAndSTUN(t *testing.T, ip string, prepare func(*pathsock.Socket)) {
	stuns := make(chan packet, 16)
	a := newSide(t, ip, func(p []byte, from netip.AddrPort) {
		stuns <- packet{data: bytes.Clone(p), from: net.UDPAddrFromAddrPort(from)}
	})
	prepare(a.socket)
	a.peer = a.socket.Add(nil, 1)
	other := a.socket.Add(nil, 1)
	b := newSide(t, ip, nil)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer a.socket.Close()
	packets := readInto(&reading, a.socket)

	// Behind the QUIC packet comes STUN, whose arrival says that the other one
	// has been looked at.
	stun := []byte{0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42}
	for i, step := range []struct {
		change func()
		want   *pathsock.Peer // whose the packet is; nil means a stranger's
	}{
		{func() {}, nil},
		{func() { a.peer.Authenticate(b.addr) }, a.peer},
		{func() { other.Forget(b.addr) }, a.peer}, // is not its own
		{func() { a.peer.Forget(b.addr) }, nil},
		{func() { a.peer.Authenticate(b.addr); other.Authenticate(b.addr) }, other},
		{func() { a.peer.Forget(b.addr) }, other},
		{func() { other.Close() }, nil},
		{func() { other.Authenticate(b.addr) }, nil}, // too late
	} {
		step.change()
		strangers := a.socket.Strangers()
		packet := []byte{0xc0, byte(i)}
		if err := errors.Join(b.socket.WriteReal(packet, a.addr), b.socket.WriteReal(stun, a.addr)); err != nil {
			t.Fatal(err)
		}
		if got := next(t, stuns); !bytes.Equal(got.data, stun) || got.from.String() != b.addr.String() {
			t.Errorf("step %d: STUN %x from %v, want %x from %v", i, got.data, got.from, stun, b.addr)
		}
		if step.want == nil {
			if got, want := a.socket.Strangers(), strangers+1; got != want {
				t.Errorf("step %d: %d packets of strangers, want %d", i, got, want)
			}
		} else if got := next(t, packets); !bytes.Equal(got.data, packet) || got.from != net.Addr(step.want.Addr()) {
			t.Errorf("step %d: read %x from %v, want %x from %v", i, got.data, got.from, packet, step.want.Addr())
		}
	}
	got := a.peer.Stats()
	if want := (pathsock.Stats{BytesIn: 4, Direct: pathsock.PathStats{In: 2, Heard: got.Direct.Heard}}); got != want || got.Direct.Heard.IsZero() {
		t.Errorf("stats are %+v, want %+v", got, want)
	}
}

func TestCloseAndDeadlineWhileReading(t *testing.T) {
	pathsock.Both(t, func(t *testing.T, prepare func(*pathsock.Socket)) {
		a := newSide(t, "127.0.0.1", nil)
		prepare(a.socket)
		a.peer = a.socket.Add(nil, 1)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer a.socket.Close()

		for _, d := range []time.Duration{0, -time.Hour, time.Millisecond} {
			packets := readInto(&reading, a.socket)
			if d == 0 { // a deadline in the past reaches a reader that waits
				for !a.socket.Parked() {
					runtime.Gosched()
				}
			}
			a.socket.SetReadDeadline(time.Now().Add(d))
			if got := next(t, packets); !errors.Is(got.err, os.ErrDeadlineExceeded) {
				t.Errorf("deadline %v from now: read says %v", d, got.err)
			}
			a.socket.SetReadDeadline(time.Time{})
		}

		packets := readInto(&reading, a.socket)
		a.peer.Inject([]byte{0x40})
		next(t, packets)
		for !a.socket.Parked() {
			runtime.Gosched()
		}
		a.socket.Close()
		if got := next(t, packets); !errors.Is(got.err, net.ErrClosed) {
			t.Errorf("after Close read says %v, want %v", got.err, net.ErrClosed)
		}
		a.peer.Inject([]byte{0x40}) // harmless
		if _, _, err := a.socket.ReadFrom(make([]byte, 10)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error("read from a closed socket:", err)
		}
	})
}

func TestAddresses(t *testing.T) {
	a := newSide(t, "127.0.0.1", nil)
	seen := map[string]bool{}
	for range 100 {
		p := a.socket.Add(nil, 1)
		ip, _ := netip.AddrFromSlice(p.Addr().IP)
		if !netip.MustParsePrefix("100::/64").Contains(ip) || seen[p.Addr().String()] {
			t.Fatalf("%v is not a new address of 100::/64", p.Addr())
		}
		seen[p.Addr().String()] = true
		p.Close()
	}
	local := a.socket.LocalAddr().(*net.UDPAddr)
	if local.IP.IsUnspecified() || local.Port != int(a.socket.Port()) || seen[local.String()] {
		t.Errorf("local address is %v, want one of its own with port %d", local, a.socket.Port())
	}
}

func TestListenOnAddress(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"} {
		s, err := pathsock.Listen(pathsock.Config{Listen: netip.MustParseAddrPort(listen)})
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		if s.Port() == 0 {
			t.Errorf("%s: no port", listen)
		}
		if _, err := pathsock.Listen(pathsock.Config{
			Listen: netip.AddrPortFrom(netip.MustParseAddrPort(listen).Addr(), s.Port()),
		}); err == nil {
			t.Errorf("%s: a second socket listens on the same port", listen)
		}
		s.Close()
	}
}
