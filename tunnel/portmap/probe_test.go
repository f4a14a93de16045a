package portmap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// A register is a router that speaks PCP and NAT-PMP, and writes down for how many seconds it was
// asked for mappings.
type register struct {
	pcp    byte   // the result of MAP
	life   uint32 // granted by PCP
	addr   netip.Addr
	natpmp byte // the result of mappings

	mu    sync.Mutex
	lives []string
}

func (g *register) answer(q []byte) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case q[0] == pcpVersion:
		b := pcpAnswering(q)
		if len(q) > pcpHeader {
			g.lives = append(g.lives, fmt.Sprint("pcp ", binary.BigEndian.Uint32(q[4:])))
			b[3] = g.pcp
			binary.BigEndian.PutUint32(b[4:], g.life)
			external := g.addr.As16()
			copy(b[44:], external[:])
		}
		return [][]byte{b}
	case q[0] != natpmpVersion:
		return nil // a search for UPnP
	case q[1] == natpmpAddress:
		external := g.addr.As4()
		return [][]byte{append([]byte{0, natpmpAddress | natpmpAnswer, 0, 0, 0, 0, 0, 9}, external[:]...)}
	}
	g.lives = append(g.lives, fmt.Sprint("nat-pmp ", binary.BigEndian.Uint32(q[8:])))
	return [][]byte{{0, natpmpMapUDP | natpmpAnswer, 0, g.natpmp, 0, 0, 0, 9, q[4], q[5], 0x9c, 0x41, 0, 0, 1, 0}}
}

// What a router says counts as open only after the trial, and is closed whatever comes of that.
func TestProbe(t *testing.T) {
	private := netip.MustParseAddr("10.0.0.2")
	byPCP, byNATPMP := outside, netip.AddrPortFrom(outside.Addr(), 0x9c41)
	for name, test := range map[string]struct {
		router       *register
		reached, end bool           // what the trial says; whether ctx ends in it
		opened       netip.AddrPort // invalid: nothing is tried
		lives        []string
	}{
		"reached":     {&register{life: 600, addr: outside.Addr()}, true, false, byPCP, []string{"pcp 120", "pcp 0"}},
		"not reached": {&register{life: 600, addr: outside.Addr()}, false, false, byPCP, []string{"pcp 120", "pcp 0"}},
		"interrupted": {&register{life: 600, addr: outside.Addr()}, false, true, byPCP, []string{"pcp 120", "pcp 0"}},
		"second":      {&register{pcp: 2, addr: outside.Addr()}, true, false, byNATPMP, []string{"pcp 120", "nat-pmp 120", "nat-pmp 0"}},
		"for no time": {&register{addr: outside.Addr()}, true, false, byNATPMP, []string{"pcp 120", "pcp 0", "nat-pmp 120", "nat-pmp 0"}},
		"refused":     {&register{pcp: 2, natpmp: 2, addr: outside.Addr()}, false, false, nowhere, []string{"pcp 120", "nat-pmp 120"}},
		"private":     {&register{life: 600, addr: private}, false, false, netip.AddrPortFrom(private, outside.Port()), []string{"pcp 120", "pcp 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := loopback(serveUDP(t, "127.0.0.1", test.router.answer))
			r.ssdp = [2]netip.AddrPort{r.gateway, r.gateway}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var tried netip.AddrPort
			got, err := r.probe(ctx, func(at *net.UDPConn, port netip.AddrPort) bool {
				if tried = port; at.LocalAddr().(*net.UDPAddr).AddrPort().Addr() != r.local {
					t.Errorf("tried with a socket at %v", at.LocalAddr())
				}
				if test.end {
					cancel()
				}
				return test.reached
			})
			want := Report{r.gateway.Addr(), []Protocol{PCP, NATPMP}, test.router.addr, test.opened, test.reached}
			if !test.end && (err != nil || fmt.Sprint(got) != fmt.Sprint(want)) || test.end && !errors.Is(err, context.Canceled) {
				t.Errorf("probe() = %v, %v, want %v", got, err, want)
			}
			if got.DoubleNAT() != (name == "private") {
				t.Errorf("DoubleNAT() = %v", got.DoubleNAT())
			}
			if public := isPublic(test.opened.Addr()); tried.IsValid() != public || public && tried != test.opened {
				t.Errorf("tried is %v", tried)
			}
			test.router.mu.Lock()
			defer test.router.mu.Unlock()
			if !slices.Equal(test.router.lives, test.lives) {
				t.Errorf("the router was asked for %q, want %q", test.router.lives, test.lives)
			}
		})
	}
	for external, want := range map[string]bool{"0.0.0.0": true, "203.0.113.1": false, "10.0.0.1": true, "100.64.0.1": true} {
		if got := (Report{External: netip.MustParseAddr(external)}).DoubleNAT(); got != want {
			t.Errorf("DoubleNAT() with %s = %v", external, got)
		}
	}
}
