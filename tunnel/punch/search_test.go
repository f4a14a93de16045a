package punch_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
	host "peerway/tunnel/network"
	"peerway/tunnel/punch"
)

// A search with many packets ends with its attempt, on both sides of it, and leaves no
// socket behind: TestMain looks.
func TestSearchEnds(t *testing.T) {
	for name, hard := range map[string]bool{"many sockets": true, "many ports": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan netip.AddrPort, 1)
			p := punch.New(punch.Config{
				Port:       4444,
				Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil },
				Write: func(_ []byte, to netip.AddrPort) error {
					if to.Port() != 5555 { // not to the candidate: to a port at random
						select {
						case sent <- to:
						default:
						}
					}
					return nil
				},
				Adopt: func(context.Context, *net.UDPConn, netip.AddrPort) { t.Error("nobody was heard") },
			})
			kind := map[bool]host.Behaviour{true: host.Dependent, false: host.Endpoint}
			a, err := p.Dial(t.Context(), punch.AttemptConfig{NAT: host.NAT{Mapping: kind[hard]}})
			if err != nil {
				t.Fatal(err)
			}
			remote := punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901", Hard: !hard,
				Candidates: []string{"s4 1 udp 1694498815 198.51.100.9 5555 typ srflx"}}
			if err := a.Connect(remote); err != nil {
				t.Fatal(err)
			}
			if !hard {
				if to := <-sent; to.Addr() != netip.MustParseAddr("198.51.100.9") || to.Port() < 1024 {
					t.Errorf("a shot at %v", to)
				}
			} else {
				<-time.After(1200 * time.Millisecond) // some sockets are open
			}
			begun := time.Now()
			a.Close()
			if took := time.Since(begun); took > time.Second {
				t.Errorf("the end took %v", took)
			}
		})
	}
}

// What the peer finds out about its NAT after the checks have begun is put to use, and no
// port of it is an address to check. What it measures further than there are rounds is not.
func TestPeerMeasuresLate(t *testing.T) {
	sent := make(chan netip.AddrPort, 1024)
	p := punch.New(punch.Config{
		Port:       4444,
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil },
		Write: func(_ []byte, to netip.AddrPort) error {
			select {
			case sent <- to:
			default:
			}
			return nil
		},
		Adopt: func(context.Context, *net.UDPConn, netip.AddrPort) { t.Error("nobody was heard") },
	})
	a := dial(t, p, punch.AttemptConfig{NAT: host.NAT{Mapping: host.Endpoint}})
	connect(t, a, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901",
		Candidates: []string{"s4 1 udp 1694498815 198.51.100.9 5555 typ srflx"}})
	<-sent
	a.SetRemoteNAT(true, -2)
	for _, text := range []string{
		"s4 1 udp 1694498815 198.51.100.9 7777 typ srflx round 77",
		"s4 1 udp 1694498815 198.51.100.9 6666 typ srflx round 1",
	} {
		if err := a.AddRemote([]string{text}); err != nil {
			t.Fatal(err)
		}
	}
	foreseen := map[uint16]bool{}
	for len(foreseen) < 6 {
		switch to := <-sent; {
		case to.Port() == 6666 || to.Port() == 7777:
			t.Fatal("a check to what was given to another socket")
		case to.Port() <= 6666-2*32 && to.Port() >= 6666-2*37 && to.Port()%2 == 0:
			foreseen[to.Port()] = true
		}
	}
}

// A shooter counts its shots at ports at random.
type shooter struct {
	*punch.Puncher
	shots atomic.Int64
}

func newShooter() *shooter {
	s := &shooter{}
	s.Puncher = punch.New(punch.Config{
		Port:       4444,
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil },
		Write: func(_ []byte, to netip.AddrPort) error {
			if to.Port() != 5555 { // not to the candidate
				s.shots.Add(1)
			}
			return nil
		},
		Adopt: func(context.Context, *net.UDPConn, netip.AddrPort) {},
	})
	return s
}

// try makes an attempt at a silent peer whose NAT may be hard, that lasts so long, and
// returns how many shots that took. Just before the end the peer may say that its NAT is
// not hard.
func (s *shooter) try(t *testing.T, peer byte, hard, lies bool, lasts time.Duration) int64 {
	t.Helper()
	before := s.shots.Load()
	a := dial(t, s.Puncher, punch.AttemptConfig{Peer: signal.PeerID{peer}, NAT: host.NAT{Mapping: host.Endpoint}})
	defer a.Close()
	connect(t, a, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901", Hard: hard,
		Candidates: []string{"s4 1 udp 1694498815 198.51.100.9 5555 typ srflx"}})
	time.Sleep(lasts)
	if lies {
		a.SetRemoteNAT(false, 0)
		time.Sleep(50 * time.Millisecond)
	}
	return s.shots.Load() - before
}

// What a peer says of its NAT in the middle of a search has no other one begin that would
// not have begun.
func TestLiesBuyNoSearches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begun := newShooter(), time.Now()
		for time.Since(begun) < 10*time.Minute {
			s.try(t, 1, true, true, 3*time.Second)
		}
		if got := s.shots.Load(); got < 2*200 || got > 18*420 {
			t.Errorf("%d shots in ten minutes", got)
		}
	})
}

// A search that was cut off is followed by another one, and who has had too many of them
// takes none from others.
func TestSearchAfterSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShooter()
		for i, want := range []bool{true, true, false} {
			if got := s.try(t, 1, true, false, 3*time.Second); (got > 0) != want {
				t.Errorf("attempt %d: %d shots", i, got)
			}
		}
		if got := s.try(t, 2, true, false, 3*time.Second); got == 0 {
			t.Error("one peer takes the searches of another")
		}
		if got := s.try(t, 3, true, false, 12*time.Second); got < 1700 || got > 2100 {
			t.Errorf("%d shots in a whole search", got)
		}
	})
}

// A search begins again when more becomes known of the NATs.
func TestSearchBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShooter()
		a := dial(t, s.Puncher, punch.AttemptConfig{Peer: signal.PeerID{1}, NAT: host.NAT{Mapping: host.Endpoint}})
		connect(t, a, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901", Hard: true,
			Candidates: []string{"s4 1 udp 1694498815 198.51.100.9 5555 typ srflx"}})
		time.Sleep(2 * time.Second)
		a.SetRemoteNAT(false, 0)
		time.Sleep(time.Second)
		before := s.shots.Load()
		a.SetRemoteNAT(true, 0)
		time.Sleep(time.Second)
		if got := s.shots.Load() - before; before == 0 || got == 0 {
			t.Errorf("%d shots, and then %d", before, got)
		}
	})
}

// Rivals are a bad peer, 0, and a good one, 1, with hard NATs, which a host looks for.
type rivals struct {
	*punch.Puncher
	shots [2]atomic.Int64 // at each of them
}

func newRivals() *rivals {
	r := &rivals{}
	r.Puncher = punch.New(punch.Config{
		Port:       4444,
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil },
		Write: func(_ []byte, to netip.AddrPort) error {
			if to.Port() != 5555 {
				r.shots[to.Addr().As4()[3]].Add(1)
			}
			return nil
		},
		Adopt: func(context.Context, *net.UDPConn, netip.AddrPort) {},
	})
	return r
}

// begin begins an attempt at one of them, whose NAT gives ports that are so far apart.
func (r *rivals) begin(t *testing.T, peer int, delta int8) *punch.Attempt {
	t.Helper()
	a := dial(t, r.Puncher, punch.AttemptConfig{Peer: signal.PeerID{1 + byte(peer)}, NAT: host.NAT{Mapping: host.Endpoint}})
	connect(t, a, punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901", Hard: true, Delta: delta,
		Candidates: []string{fmt.Sprintf("s4 1 udp 1694498815 198.51.100.%d 5555 typ srflx", peer)}})
	return a
}

// in returns the shots at each that are taken meanwhile.
func (r *rivals) in(lasts time.Duration) (bad, good int64) {
	bad, good = r.shots[0].Load(), r.shots[1].Load()
	time.Sleep(lasts)
	return r.shots[0].Load() - bad, r.shots[1].Load() - good
}

// A peer with which searches were in vain holds up none with another peer, and has its turn
// when that is over.
func TestSearchMakesRoomForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRivals()
		first := r.begin(t, 0, 0)
		r.in(12 * time.Second)
		first.Close()
		r.begin(t, 0, 0)
		r.in(200 * time.Millisecond)
		honest := r.begin(t, 1, 0)
		if bad, _ := r.in(1400 * time.Millisecond); bad == 0 || bad > 100 {
			t.Errorf("%d shots at the bad peer until it makes room", bad)
		}
		if bad, good := r.in(time.Second); bad != 0 || good < 150 {
			t.Errorf("%d shots at the bad peer and %d at the good one in a second", bad, good)
		}
		honest.Close()
		if bad, _ := r.in(time.Second); bad == 0 {
			t.Error("the interrupted search was not made again")
		}
	})
}

// What a peer was promised by its call is not used up by a search that was interrupted: it is
// made again at once, and not as one that nobody has called for.
func TestInterruptedSearchIsStillOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRivals()
		first := r.begin(t, 0, 0)
		r.in(12 * time.Second)
		first.Close()
		call := func(peer int, a *punch.Attempt) {
			text := fmt.Sprintf("s4 1 udp 1694498815 198.51.100.%d 6666 typ srflx round 1", peer)
			if err := a.AddRemote([]string{text}); err != nil {
				t.Fatal(err)
			}
		}
		bad, good := r.begin(t, 0, 2), r.begin(t, 1, 2)
		call(0, bad)
		r.in(100 * time.Millisecond)
		call(1, good)
		if _, got := r.in(200 * time.Millisecond); got == 0 {
			t.Fatal("no shots at the good peer")
		}
		good.Close()
		if got, _ := r.in(500 * time.Millisecond); got == 0 {
			t.Error("who has called and was interrupted waits")
		}
	})
}
