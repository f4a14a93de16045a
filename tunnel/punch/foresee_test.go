package punch

import (
	"net/netip"
	"testing"
	"time"
)

// A sequentialNAT gives every destination the next port.
type sequentialNAT struct {
	sequence
	given    int
	mappings map[[2]netip.AddrPort]netip.AddrPort // by socket and destination
}

func newSequentialNAT(addr string, step int) *sequentialNAT {
	return &sequentialNAT{sequence: sequence{netip.MustParseAddrPort(addr), step}, mappings: map[[2]netip.AddrPort]netip.AddrPort{}}
}

func (n *sequentialNAT) send(socket int, to netip.AddrPort) {
	key := [2]netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(socket)), to}
	if _, ok := n.mappings[key]; !ok {
		n.given++
		n.mappings[key] = n.at(n.given)
	}
}

// passes reports whether a packet from there comes in at a port.
func (n *sequentialNAT) passes(port, from netip.AddrPort) bool {
	for key, mapped := range n.mappings {
		if mapped == port && key[1] == from {
			return true
		}
	}
	return false
}

// Both sides hit each other, whatever is behind their NATs too takes up to five mappings on
// the one side and 32 on the other.
func TestForeseenPortsMeet(t *testing.T) {
	for _, steps := range [][2]int{{1, 1}, {2, -3}, {-1, 10}} {
		for taken := range foreseenShots {
			for takenThere := range foreseenMiddle {
				one, many := newSequentialNAT("192.0.2.1:30000", steps[0]), newSequentialNAT("198.51.100.1:40000", steps[1])
				target, targets := one.target(), many.targets()
				one.given, many.given = taken, takenThere
				for range 2 { // repetitions take no port
					for _, to := range targets {
						one.send(0, to)
					}
				}
				for socket := range foreseenSockets {
					many.send(socket, target)
				}
				met := false
				for _, to := range targets {
					met = met || many.passes(to, target) && one.passes(target, to)
				}
				if !met {
					t.Errorf("steps %v: not met when %d and %d ports are taken", steps, taken, takenThere)
				}
			}
		}
	}
}

func TestSequence(t *testing.T) {
	last := netip.MustParseAddrPort("192.0.2.1:65530")
	if got := (sequence{last, 1}).targets(); len(got) != 0 {
		t.Errorf("ports after the last: %v", got)
	}
	for _, s := range []sequence{{}, {last, 0}, {netip.AddrPort{}, 1}} {
		if got := s.target(); got.IsValid() {
			t.Errorf("%v: target %v", s, got)
		}
	}
	if got := (sequence{last, -2}).target(); got.Port() != 65518 {
		t.Errorf("target %v", got)
	}
}

// Who begins when.
func TestSearchBegins(t *testing.T) {
	now := time.Now()
	peer := netip.MustParseAddrPort("198.51.100.1:1")
	since := func(d time.Duration, s standing) standing {
		s.since, s.peer = now.Add(-d), peer
		return s
	}
	hard, easy := standing{hard: true}, standing{peerHard: true}
	both := standing{hard: true, peerHard: true, step: 1, peerStep: -2}
	opener := both
	opener.controlling = true
	told := func(round uint8, s standing) standing { s.peerRound = round; return s }
	regular, peerRegular := standing{hard: true, step: 1}, standing{peerHard: true, peerStep: 1}
	for name, test := range map[string]struct {
		s    standing
		done progress
		want bool
	}{
		"not connected":                       {standing{hard: true, peer: peer}, progress{answered: 0}, false},
		"no hard NAT":                         {since(time.Minute, standing{}), progress{answered: 0}, false},
		"both hard":                           {since(time.Minute, standing{hard: true, peerHard: true}), progress{answered: 0}, false},
		"both hard, one regular":              {since(time.Minute, standing{hard: true, peerHard: true, step: 1}), progress{answered: 0}, false},
		"hard, early":                         {since(900*time.Millisecond, hard), progress{answered: 0}, false},
		"hard":                                {since(time.Second, hard), progress{answered: 0}, true},
		"easy, early":                         {since(900*time.Millisecond, easy), progress{answered: 0}, false},
		"easy":                                {since(time.Second, easy), progress{answered: 0}, true},
		"regular, early":                      {since(200*time.Millisecond, regular), progress{answered: 0}, false},
		"regular":                             {since(300*time.Millisecond, regular), progress{answered: 0}, true},
		"against regular, early":              {since(900*time.Millisecond, peerRegular), progress{answered: 0}, false},
		"against regular, which has begun":    {since(time.Millisecond, told(1, peerRegular)), progress{answered: 0}, true},
		"against regular, which is silent":    {since(time.Second, peerRegular), progress{answered: 0}, true},
		"both regular, opens":                 {since(300*time.Millisecond, opener), progress{answered: 0}, true},
		"both regular, opens again":           {since(3*time.Second, told(1, opener)), progress{answered: 1}, true},
		"both regular, waits":                 {since(time.Minute, both), progress{answered: 0}, false},
		"both regular, is told":               {since(time.Millisecond, told(1, both)), progress{answered: 0}, true},
		"both regular, is told of the third":  {since(time.Millisecond, told(3, both)), progress{answered: 1}, true},
		"both regular, is not told again":     {since(time.Minute, told(1, both)), progress{answered: 1}, false},
		"the peer is not behind a provider":   {standing{since: now.Add(-time.Minute), hard: true}, progress{answered: 0}, false},
		"both regular, hears of an old round": {since(time.Minute, told(1, both)), progress{answered: 2}, false},
	} {
		if got := test.s.ready(test.done, now); got != test.want {
			t.Errorf("%s: ready %v, want %v", name, got, test.want)
		}
	}
}
