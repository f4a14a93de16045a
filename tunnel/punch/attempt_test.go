package punch_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/tunnel/punch"
)

// dial opens an attempt that the test closes.
func dial(t *testing.T, p *punch.Puncher, config punch.AttemptConfig) *punch.Attempt {
	t.Helper()
	a, err := p.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func connect(t *testing.T, a *punch.Attempt, remote punch.Description) {
	t.Helper()
	if err := a.Connect(remote); err != nil {
		t.Fatal(err)
	}
}

// selected returns the next event, which must be Selected.
func selected(t *testing.T, a *punch.Attempt) punch.Selected {
	t.Helper()
	e, ok := (<-a.Events()).(punch.Selected)
	if !ok {
		t.Fatalf("event %T %v, want Selected", e, e)
	}
	return e
}

func TestConnectsInBothRoles(t *testing.T) {
	for _, addrs := range [][2]string{
		{"192.0.2.1:1111", "198.51.100.2:2222"},
		{"[2001:db8::1]:1111", "[2001:db8::2]:2222"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(10 * time.Millisecond)
			a, b := n.host(addrs[0], open, ""), n.host(addrs[1], open, "")
			one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
			two := dial(t, b.Puncher, punch.AttemptConfig{})
			start := time.Now()
			connect(t, one, two.Local())
			connect(t, two, one.Local())
			for _, side := range []struct {
				attempt *punch.Attempt
				remote  netip.AddrPort
			}{{one, b.addr}, {two, a.addr}} {
				e := selected(t, side.attempt)
				if e.Remote != side.remote || e.RTT != 20*time.Millisecond {
					t.Errorf("selected %v, want %v after 20ms", e, side.remote)
				}
				if got := side.attempt.Remote(); got != side.remote {
					t.Errorf("Remote() = %v, want %v", got, side.remote)
				}
			}
			if took := time.Since(start); took > 150*time.Millisecond {
				t.Errorf("connected after %v", took)
			}
		})
	}
}

// What ICE can do between two kinds of NAT, and what a person is told where it
// cannot.
func TestNATs(t *testing.T) {
	for _, test := range []struct {
		a, b   natKind
		reason string // of the failure
	}{
		{a: open, b: fullCone},
		{a: open, b: portRestricted},
		{a: open, b: symmetric},
		{a: fullCone, b: fullCone},
		{a: fullCone, b: portRestricted},
		{a: fullCone, b: symmetric},
		{a: symmetric, b: fullCone},
		{a: portRestricted, b: portRestricted},
		{a: symmetric, b: portRestricted, reason: "NAT"},
		{a: symmetric, b: symmetric, reason: "every destination its own port"},
	} {
		t.Run(fmt.Sprint(test.a, test.b), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(10 * time.Millisecond)
				servers := []netip.AddrPort{n.server("203.0.113.1:3478"), n.server("203.0.113.2:3478")}
				a := n.host("10.0.0.1:1111", test.a, "192.0.2.1")
				if test.a == open {
					a = n.host("192.0.2.1:1111", open, "")
				}
				b := n.host("172.16.0.1:2222", test.b, "198.51.100.1")
				one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true, Mapped: mappings(t, a, servers)})
				two := dial(t, b.Puncher, punch.AttemptConfig{Mapped: mappings(t, b, servers)})
				connect(t, one, two.Local())
				connect(t, two, one.Local())
				if test.reason != "" {
					for _, side := range []*punch.Attempt{one, two} {
						e, ok := (<-side.Events()).(punch.Failed)
						if !ok || side == one && !strings.Contains(e.Reason, test.reason) {
							t.Errorf("event %v, want the reason %q", e, test.reason)
						}
					}
					return
				}
				if e := selected(t, one); e.Remote.Addr() != b.box.outside {
					t.Errorf("selected %v", e)
				}
				if e := selected(t, two); e.Remote.Addr() != netip.MustParseAddr("192.0.2.1") {
					t.Errorf("selected %v", e)
				}
			})
		})
	}
}

func mappings(t *testing.T, h *node, servers []netip.AddrPort) (mapped []netip.AddrPort) {
	t.Helper()
	for _, s := range servers {
		m, err := h.Mapped(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		mapped = append(mapped, m)
	}
	return mapped
}

func TestLateStart(t *testing.T) {
	for _, late := range []string{"controlling", "controlled"} {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(10 * time.Millisecond)
				a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
				first := dial(t, a.Puncher, punch.AttemptConfig{Controlling: late != "controlling"})
				second := dial(t, b.Puncher, punch.AttemptConfig{Controlling: late == "controlling"})
				connect(t, first, second.Local())
				time.Sleep(3 * time.Second)
				start := time.Now()
				connect(t, second, first.Local())
				selected(t, first)
				selected(t, second)
				if took := time.Since(start); took > 200*time.Millisecond {
					t.Errorf("connected after %v", took)
				}
			})
		})
	}
}

// A second attempt to the same address must not take the packets of the first.
func TestAttemptsToTheSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
		var all []*punch.Attempt
		for range 3 {
			one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
			two := dial(t, b.Puncher, punch.AttemptConfig{})
			connect(t, one, two.Local())
			connect(t, two, one.Local())
			if e := selected(t, one); e.Remote != b.addr {
				t.Errorf("selected %v", e)
			}
			if e := selected(t, two); e.Remote != a.addr {
				t.Errorf("selected %v", e)
			}
			all = append(all, one, two)
			time.Sleep(30 * time.Second)
		}
		for i, attempt := range all {
			select {
			case e := <-attempt.Events():
				t.Errorf("attempt %d: %T %v, want no event", i, e, e)
			default:
			}
		}
	})
}

// An idle path takes two packets each 5 s, and is lost after 10 s of silence.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		two := dial(t, b.Puncher, punch.AttemptConfig{})
		connect(t, one, two.Local())
		connect(t, two, one.Local())
		selected(t, one)
		selected(t, two)
		time.Sleep(time.Minute)
		var sent []time.Time
		n.setTap(func([]byte) { sent = append(sent, time.Now()) })
		time.Sleep(time.Minute)
		n.setTap(nil)
		n.setCut(true)
		for i := 2; i < len(sent); i++ {
			if gap := sent[i].Sub(sent[i-2]); gap < 4900*time.Millisecond || gap > 5100*time.Millisecond {
				t.Errorf("checks or answers follow each other after %v, want about 5s", gap)
			}
		}
		for _, side := range []*punch.Attempt{one, two} {
			if e, ok := (<-side.Events()).(punch.Lost); !ok {
				t.Errorf("event %T, want Lost", e)
			}
			if silence := time.Since(sent[len(sent)-1]); silence < 9500*time.Millisecond || silence > 10500*time.Millisecond {
				t.Errorf("lost after a silence of %v, want about 10s", silence)
			}
		}
		one.Close()
		if e, ok := <-one.Events(); ok {
			t.Errorf("event %v after the last one", e)
		}
	})
}

// The offer leaves before the mapped address is known; candidates follow.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		server := n.server("203.0.113.1:3478")
		a := n.host("10.0.0.1:1111", portRestricted, "192.0.2.1")
		b := n.host("172.16.0.1:2222", portRestricted, "198.51.100.1")
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		two := dial(t, b.Puncher, punch.AttemptConfig{})
		connect(t, one, two.Local())
		connect(t, two, one.Local())
		time.Sleep(time.Second)
		more := one.AddMapped(mappings(t, a, []netip.AddrPort{server})[0])
		if again := one.AddMapped(mappings(t, a, []netip.AddrPort{server})[0]); len(more) != 1 || again != nil {
			t.Errorf("AddMapped() = %q, then %q", more, again)
		}
		if err := two.AddRemote(more); err != nil {
			t.Error(err)
		}
		if err := one.AddRemote(two.AddMapped(mappings(t, b, []netip.AddrPort{server})[0])); err != nil {
			t.Error(err)
		}
		selected(t, one)
		selected(t, two)
	})
}

func TestFailsWithReason(t *testing.T) {
	for _, test := range []struct {
		name   string
		roles  [2]bool
		change func(*punch.Description)
		reason string
	}{
		{"nothing in common", [2]bool{true, false}, func(d *punch.Description) {
			d.Candidates = []string{"h6 1 udp 1 2001:db8::1 1 typ host", "h4 1 udp 1 127.0.0.1 9 typ host", "x"}
		}, "no address of a kind that this host has"},
		{"same role", [2]bool{true, true}, func(*punch.Description) {}, "same role"},
		{"wrong password", [2]bool{true, false}, func(d *punch.Description) {
			d.Pwd = strings.Repeat("x", 30)
		}, "one direction only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(10 * time.Millisecond)
				a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
				one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: test.roles[0]})
				two := dial(t, b.Puncher, punch.AttemptConfig{Controlling: test.roles[1]})
				remote := two.Local()
				test.change(&remote)
				connect(t, one, remote)
				if test.name != "nothing in common" {
					connect(t, two, one.Local())
				}
				start := time.Now()
				e, ok := (<-one.Events()).(punch.Failed)
				if !ok || !strings.Contains(e.Reason, test.reason) {
					t.Errorf("event %v, want the reason %q", e, test.reason)
				}
				if took := time.Since(start); took > 13*time.Second {
					t.Errorf("failed after %v", took)
				}
			})
		})
	}
}

// The library would nominate a pair for ever that died right after it was
// proven.
func TestNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		two := dial(t, b.Puncher, punch.AttemptConfig{})
		connect(t, one, two.Local())
		connect(t, two, one.Local())
		time.Sleep(25 * time.Millisecond) // answered and nominated, but that is not answered yet
		n.setCut(true)
		start := time.Now()
		e, ok := (<-one.Events()).(punch.Failed)
		if !ok || !strings.Contains(e.Reason, "not confirmed") || time.Since(start) > 4*time.Second {
			t.Errorf("event %T %v after %v", e, e, time.Since(start))
		}
	})
}

// Close works in every state, at once, and leaves no goroutine behind: the
// bubble would not end.
func TestClose(t *testing.T) {
	for _, state := range []string{"new", "checking", "selected", "selected, event not read", "lost", "failed", "twice", "from two sides"} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(10 * time.Millisecond)
				a, b := n.host("192.0.2.1:1111", open, ""), n.host("198.51.100.2:2222", open, "")
				one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
				two := dial(t, b.Puncher, punch.AttemptConfig{})
				if state != "new" {
					connect(t, one, two.Local())
				}
				switch state {
				case "checking":
					time.Sleep(time.Second)
				case "selected", "lost":
					connect(t, two, one.Local())
					selected(t, one)
					if state == "lost" {
						n.setCut(true)
						<-one.Events()
					}
				case "selected, event not read":
					connect(t, two, one.Local())
					time.Sleep(time.Second)
				case "failed":
					<-one.Events()
				}
				start := time.Now()
				var sides sync.WaitGroup
				sides.Go(one.Close)
				if state == "from two sides" {
					sides.Go(one.Close)
				}
				sides.Wait()
				one.Close()
				if took := time.Since(start); took != 0 {
					t.Errorf("closed after %v", took)
				}
				for range one.Events() {
				}
				if err := one.Connect(two.Local()); err == nil {
					t.Error("Connect after Close = nil")
				}
				if err := one.AddRemote([]string{"h4 1 udp 1 198.51.100.9 1 typ host"}); err != nil {
					t.Errorf("AddRemote after Close = %v", err) // skipped
				}
			})
		})
	}
}

// Real sockets on the loopback interface: the addresses of the kernel.
func TestLoopbackSockets(t *testing.T) {
	one := listen(t, "127.0.0.1:0")
	two := listen(t, "127.0.0.1:0")
	a := dial(t, one.puncher, punch.AttemptConfig{Controlling: true})
	b := dial(t, two.puncher, punch.AttemptConfig{})
	connect(t, a, b.Local())
	connect(t, b, a.Local())
	if e := selected(t, a); e.Remote != two.addr() || e.RTT <= 0 {
		t.Errorf("selected %v, want %v", e, two.addr())
	}
	if e := selected(t, b); e.Remote != one.addr() || e.RTT <= 0 {
		t.Errorf("selected %v, want %v", e, one.addr())
	}
}

type socket struct {
	conn    *net.UDPConn
	puncher *punch.Puncher
}

func (s socket) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// listen opens a socket that feeds a puncher until the test ends.
func listen(t *testing.T, addr string) socket {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	s := socket{conn: conn}
	s.puncher = punch.New(punch.Config{
		Write: func(p []byte, to netip.AddrPort) error {
			_, err := conn.WriteToUDPAddrPort(p, to)
			return err
		},
		Port:          s.addr().Port(),
		AllowLoopback: true,
		Interfaces:    func() ([]netip.Addr, error) { return []netip.Addr{s.addr().Addr()}, nil },
	})
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			s.puncher.Deliver(buf[:n], from)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	return s
}
