package portmap

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// soon bounds what should take no time.
const soon = 10 * time.Second

// serveUDP answers packets on a port of its own at an address of this host until the test
// ends. answer returns what to send back, one packet each.
func serveUDP(t *testing.T, at string, answer func(question []byte) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(at), 0)))
	if err != nil {
		t.Skip(err) // systems have 127.0.0.1 only, but Linux
	}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { conn.Close() })
	serving.Go(func() {
		buffer := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			for _, packet := range answer(buffer[:n]) {
				conn.WriteToUDPAddrPort(packet, from)
			}
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func loopback(gateway netip.AddrPort) router {
	return router{gateway: gateway, local: netip.MustParseAddr("127.0.0.1"), subnet: netip.MustParsePrefix("127.0.0.0/29"), device: "lo"}
}

// pcpAnswering returns the answer to a PCP request, as granted for ten minutes.
func pcpAnswering(question []byte) []byte {
	b := append([]byte(nil), question...)
	b[1] |= pcpAnswer
	clear(b[4:24])
	if len(b) > pcpHeader {
		binary.BigEndian.PutUint32(b[4:], 600)
		external := outside.Addr().As16()
		copy(b[44:], external[:])
		binary.BigEndian.PutUint16(b[42:], outside.Port())
	}
	binary.BigEndian.PutUint32(b[8:], 1000)
	return b
}

func changed(b []byte, at int) []byte {
	b = append([]byte(nil), b...)
	b[at]++
	return b
}

// Only an answer to the question counts, whatever else comes.
func TestHostilePCP(t *testing.T) {
	addr := serveUDP(t, "127.0.0.1", func(q []byte) [][]byte {
		good := pcpAnswering(q)
		if len(q) == pcpHeader {
			return [][]byte{q, good[:20], good}
		}
		return [][]byte{
			q, {}, good[:1], good[:pcpHeader], good[:59], append(good[:60:60], 1), make([]byte, 1500),
			changed(good, 0), changed(good, 24), changed(good, 36), changed(good, 41), good,
		}
	})
	s := pcpService{router: loopback(addr), nonce: newSeed().nonce(addr)}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if _, err := s.announce(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := s.lease(ctx, wish{port: 5000, external: nowhere, life: askLife})
	if want := (lease{5000, outside, 10 * time.Minute}); err != nil || got != want {
		t.Errorf("lease() = %v, %v, want %v", got, err, want)
	}
	if err := s.release(ctx, got); err != nil {
		t.Error(err)
	}
}

// What comes from another port than that of the router does not count.
func TestForgedPCP(t *testing.T) {
	var sockets [2]*net.UDPConn
	for i := range sockets {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sockets[i] = conn
	}
	server, forger := sockets[0], sockets[1]
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s := pcpService{router: loopback(server.LocalAddr().(*net.UDPAddr).AddrPort())}
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		if _, err := s.announce(ctx); err != nil || s.clock.seconds != 1000 {
			t.Errorf("announce() = %v, the clock shows %d s, want what the router said", err, s.clock.seconds)
		}
	})
	q := make([]byte, 100)
	n, from, err := server.ReadFromUDPAddrPort(q)
	if err != nil {
		t.Fatal(err)
	}
	good := pcpAnswering(q[:n])
	forger.WriteToUDPAddrPort(changed(good, 11), from)
	server.WriteToUDPAddrPort(good, from)
}

func TestHostileNATPMP(t *testing.T) {
	addr := serveUDP(t, "127.0.0.1", func(q []byte) [][]byte {
		b := []byte{0, q[1] | natpmpAnswer, 0, 0, 0, 0, 0, 9}
		if q[1] == natpmpAddress {
			external := outside.Addr().As4()
			b = append(b, external[:]...)
			return [][]byte{q, b[:11], {0, 129, 0, 0, 0, 0, 0, 9, 1, 1, 1, 1, 1, 1, 1, 1}, changed(b, 0), b}
		}
		b = append(b, q[4], q[5], 0x9c, 0x40, 0, 0, 1, 0)
		return [][]byte{q, b[:15], changed(b, 8), changed(b, 1), changed(b, 0), b}
	})
	s := natpmpService{router: loopback(addr)}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	got, err := s.lease(ctx, wish{port: 5000, life: askLife})
	if want := (lease{5000, outside, 256 * time.Second}); err != nil || got != want {
		t.Errorf("lease() = %v, %v, want %v", got, err, want)
	}
	if err := s.check(ctx, got); err != nil {
		t.Errorf("check() = %v", err)
	}
	got.external = moving
	if err := s.check(ctx, got); !errors.Is(err, errLost) {
		t.Errorf("check() after a change of address = %v", err)
	}
	if err := s.release(ctx, got); err != nil {
		t.Error(err)
	}
}

// A router that speaks NAT-PMP only says so, and one that speaks neither may, too.
func TestOldRouter(t *testing.T) {
	addr := serveUDP(t, "127.0.0.1", func(q []byte) [][]byte {
		return [][]byte{{0, q[1] | natpmpAnswer, 0, natpmpBadVersion, 0, 0, 0, 9}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	p := pcpService{router: loopback(addr)}
	if _, err := p.announce(ctx); !errors.As(err, new(refusal)) {
		t.Errorf("announce() = %v", err)
	}
	p.router.gateway = netip.AddrPortFrom(addr.Addr(), unused(t))
	if _, err := p.announce(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("announce() where nobody listens = %v", err)
	}
}

// unused returns a port that nobody listens on.
func unused(t *testing.T) uint16 {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// A router that has restarted is noticed by its clock.
func TestClock(t *testing.T) {
	seconds := byte(200)
	addr := serveUDP(t, "127.0.0.1", func(q []byte) [][]byte {
		b := pcpAnswering(q)
		copy(b[8:], []byte{0, 0, 0, seconds})
		seconds = 0
		return [][]byte{b}
	})
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s := pcpService{router: loopback(addr)}
	l, err := s.lease(ctx, wish{port: 5000, life: askLife})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.check(ctx, l); !errors.Is(err, errLost) {
		t.Errorf("check() = %v", err)
	}
	if err := s.check(ctx, l); err != nil {
		t.Errorf("check() = %v", err)
	}
	l.external = inside // it may be another one by now
	if err := s.check(ctx, l); !errors.Is(err, errLost) {
		t.Errorf("check() without a public address = %v", err)
	}
}

// A router that does not know how to be asked for its clock speaks PCP all the same.
func TestNoAnnounce(t *testing.T) {
	addr := serveUDP(t, "127.0.0.1", func(q []byte) [][]byte {
		b := pcpAnswering(q)
		b[3] = pcpBadOpcode
		return [][]byte{b}
	})
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s := pcpService{router: loopback(addr)}
	if _, err := s.announce(ctx); err != nil || s.clock.seconds != 1000 {
		t.Errorf("announce() = %v, the clock shows %d s", err, s.clock.seconds)
	}
	if _, err := s.lease(ctx, wish{port: 5000, life: askLife}); !errors.As(err, new(refusal)) {
		t.Errorf("lease() = %v", err)
	}
}
