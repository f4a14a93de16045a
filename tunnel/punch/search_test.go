package punch_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

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
