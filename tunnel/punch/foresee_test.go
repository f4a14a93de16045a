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
		s           standing
		round, want uint8
	}{
		"not connected":                       {standing{hard: true, peer: peer}, 0, 0},
		"no hard NAT":                         {since(time.Minute, standing{}), 0, 0},
		"both hard":                           {since(time.Minute, standing{hard: true, peerHard: true}), 0, 0},
		"both hard, one regular":              {since(time.Minute, standing{hard: true, peerHard: true, step: 1}), 0, 0},
		"hard, early":                         {since(900*time.Millisecond, hard), 0, 0},
		"hard":                                {since(time.Second, hard), 0, 1},
		"easy, early":                         {since(900*time.Millisecond, easy), 0, 0},
		"easy":                                {since(time.Second, easy), 0, 1},
		"regular, early":                      {since(200*time.Millisecond, regular), 0, 0},
		"regular":                             {since(300*time.Millisecond, regular), 0, 1},
		"against regular, early":              {since(900*time.Millisecond, peerRegular), 0, 0},
		"against regular, which has begun":    {since(time.Millisecond, told(1, peerRegular)), 0, 1},
		"against regular, which is silent":    {since(time.Second, peerRegular), 0, 1},
		"both regular, opens":                 {since(300*time.Millisecond, opener), 0, 1},
		"both regular, opens again":           {since(3*time.Second, told(1, opener)), 1, 2},
		"both regular, waits":                 {since(time.Minute, both), 0, 0},
		"both regular, is told":               {since(time.Millisecond, told(1, both)), 0, 1},
		"both regular, is told of the third":  {since(time.Millisecond, told(3, both)), 1, 3},
		"both regular, is not told again":     {since(time.Minute, told(1, both)), 1, 1},
		"the peer is not behind a provider":   {standing{since: now.Add(-time.Minute), hard: true}, 0, 0},
		"both regular, hears of an old round": {since(time.Minute, told(1, both)), 2, 2},
	} {
		if got := test.s.next(test.round, now); got != test.want {
			t.Errorf("%s: round %d after %d, want %d", name, got, test.round, test.want)
		}
	}
}
