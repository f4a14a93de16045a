package punch_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	"peerway/tunnel/punch"

	"github.com/pion/stun/v3"
)

// A victim is a host that has asked nobody for anything. It counts what it gets in each
// second.
type victim struct {
	network *network // whose lock guards what follows
	addr    netip.Addr
	begun   time.Time
	seconds [60]int
	ports   map[uint16]bool
}

// behold makes a victim of all that is sent to an address.
func behold(n *network, addr string) *victim {
	v := &victim{network: n, addr: netip.MustParseAddr(addr), begun: time.Now(), ports: make(map[uint16]bool)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tapTo = func(to netip.AddrPort) {
		if to.Addr() == v.addr {
			v.seconds[min(int(time.Since(v.begun)/time.Second), len(v.seconds)-1)]++
			v.ports[to.Port()] = true
		}
	}
	return v
}

// check looks at what it got: at so many ports, and so much in each of the first two
// seconds and in each that follows. It returns the sum.
func (v *victim) check(t *testing.T, ports, once, after int) (all int) {
	t.Helper()
	v.network.mu.Lock()
	defer v.network.mu.Unlock()
	t.Logf("%d ports, %v packets a second", len(v.ports), v.seconds)
	if len(v.ports) > ports {
		t.Errorf("%d ports got packets, want %d at most", len(v.ports), ports)
	}
	for i, got := range v.seconds {
		all += got
		if most := map[bool]int{true: once, false: after}[i < 2]; got > most {
			t.Errorf("%d packets in second %d, want %d at most", got, i, most)
		}
	}
	return all
}

// name has an attempt take 64 ports of a host.
func (v *victim) name(t *testing.T, a *punch.Attempt) {
	t.Helper()
	for i := range 4 {
		var candidates []string
		for j := range 16 {
			candidates = append(candidates, fmt.Sprintf("h4 1 udp 1 %v %d typ host", v.addr, 1000+16*i+j))
		}
		if err := a.AddRemote(candidates); err != nil {
			t.Fatal(err)
		}
	}
}

// A peer that names a host as itself has few packets sent there.
func TestForeignCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a := n.host("192.0.2.1:1111", open, "")
		v := behold(n, "198.51.100.9")
		one := dial(t, a.Puncher, punch.AttemptConfig{Controlling: true})
		connect(t, one, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"})
		v.name(t, one)
		time.Sleep(20 * time.Second)
		v.check(t, 4, 100, 25)
	})
}

// Nor does it help to begin again and again.
func TestForeignCandidatesOfManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a := n.host("192.0.2.1:1111", open, "")
		v := behold(n, "198.51.100.9")
		for range 50 {
			one := dial(t, a.Puncher, punch.AttemptConfig{Peer: signal.PeerID{1}})
			connect(t, one, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"})
			v.name(t, one)
			time.Sleep(time.Second)
			one.Close()
		}
		if all := v.check(t, 4, 110, 110); all > 50*50+250 {
			t.Errorf("%d packets in 50 s", all)
		}
	})
}

// A peer that sends with the address of another host has few packets sent there, and no
// more than it sends.
func TestForeignSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		a := n.host("192.0.2.1:1111", open, "")
		v := behold(n, "198.51.100.9")
		one := dial(t, a.Puncher, punch.AttemptConfig{})
		connect(t, one, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"})
		for i := range 20 * 1000 {
			check := stun.MustBuild(stun.TransactionID, stun.BindingRequest,
				stun.NewUsername(one.Local().Ufrag+":abcd"),
				stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)},
				stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 0, 1}},
				stun.NewShortTermIntegrity(one.Local().Pwd), stun.Fingerprint)
			a.Deliver(check.Raw, netip.AddrPortFrom(v.addr, uint16(1000+i%8)))
			time.Sleep(time.Millisecond)
		}
		v.check(t, 4, 260, 65)
	})
}

// The address at which a peer's NAT can be reached is checked from the first moment on, though it
// is the last of many, and earlier attempts have used up what there was for the others.
func TestMappedAddressAfterManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		server := n.server("203.0.113.1:3478")
		a := n.host("10.0.0.1:1111", portRestricted, "192.0.2.1")
		b := n.host("172.16.0.1:2222", portRestricted, "198.51.100.1")
		dialBoth := func() (one, two *punch.Attempt) {
			one = dial(t, a.Puncher, punch.AttemptConfig{Peer: signal.PeerID{2}, Controlling: true, Mapped: mappings(t, a, []netip.AddrPort{server})})
			two = dial(t, b.Puncher, punch.AttemptConfig{Peer: signal.PeerID{1}, Mapped: mappings(t, b, []netip.AddrPort{server})})
			return one, two
		}
		crowded := func(d punch.Description) punch.Description {
			var hosts []string
			for i := range 8 {
				hosts = append(hosts, fmt.Sprintf("h4 1 udp 2130706431 172.17.%d.1 2222 typ host", i))
			}
			d.Candidates = append(hosts, d.Candidates...)
			return d
		}
		for range 6 {
			one, two := dialBoth()
			connect(t, one, crowded(punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}))
			connect(t, two, crowded(punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}))
			time.Sleep(time.Second)
			one.Close()
			two.Close()
		}
		one, two := dialBoth()
		begun := time.Now()
		connect(t, one, crowded(two.Local()))
		connect(t, two, crowded(one.Local()))
		selected(t, one)
		selected(t, two)
		if took := time.Since(begun); took > 300*time.Millisecond {
			t.Errorf("the path is found after %v", took)
		}
	})
}
