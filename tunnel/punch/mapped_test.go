package punch_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/tunnel/punch"
)

func TestMapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		servers := []netip.AddrPort{n.server("203.0.113.1:3478"), n.server("203.0.113.2:3478")}
		h := n.host("10.0.0.1:1111", symmetric, "192.0.2.1")
		want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:40007"), netip.MustParseAddrPort("192.0.2.1:40014")}
		// Both at once would give the ports in any order.
		got := mappings(t, h, servers)
		if got[0] != want[0] || got[1] != want[1] {
			t.Errorf("Mapped() = %v, want %v", got, want)
		}
		asked := func() int { return n.servers[servers[0]] }
		mappings(t, h, servers)
		if asked() != 1 {
			t.Errorf("%d requests, want 1: the answer is fresh", asked())
		}
		time.Sleep(2 * time.Second)
		mappings(t, h, servers)
		if asked() != 2 {
			t.Errorf("%d requests after 2s, want 2", asked())
		}
		h.Forget()
		mappings(t, h, servers)
		if asked() != 3 {
			t.Errorf("%d requests after Forget, want 3", asked())
		}
	})
}

func TestMappedFromManyServersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		h := n.host("10.0.0.1:1111", portRestricted, "192.0.2.1")
		var asking sync.WaitGroup
		for i := range 100 {
			server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 3478)
			n.servers[server] = 0
			asking.Go(func() {
				got, err := h.Mapped(t.Context(), server)
				if err != nil || got != netip.MustParseAddrPort("192.0.2.1:40007") {
					t.Errorf("Mapped() = %v, %v", got, err)
				}
			})
		}
		asking.Wait()
	})
}

func TestMappedSendsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10 * time.Millisecond)
		server := n.server("203.0.113.1:3478")
		h := n.host("10.0.0.1:1111", portRestricted, "192.0.2.1")
		n.drops[server] = 3
		start := time.Now()
		if _, err := h.Mapped(t.Context(), server); err != nil {
			t.Error(err)
		}
		if got, want := time.Since(start), 720*time.Millisecond; got != want {
			t.Errorf("answered after %v, want %v", got, want)
		}
		n.drops[server] = 100
		h.Forget()
		start = time.Now()
		if _, err := h.Mapped(t.Context(), server); err == nil {
			t.Error("Mapped() without an answer = nil")
		}
		if got, want := time.Since(start), 3100*time.Millisecond; got != want {
			t.Errorf("gave up after %v, want %v", got, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Mapped(ctx, server); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Mapped() = %v, want the end of its context", err)
		}
	})
}

// Who knows neither the transaction nor the address of the server says nothing.
func TestMappedIgnoresOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := netip.MustParseAddrPort("203.0.113.1:3478")
		var p *punch.Puncher
		p = punch.New(punch.Config{Write: func(packet []byte, to netip.AddrPort) error {
			forged := append([]byte{1, 1, 0, 12}, packet[4:20]...)
			forged = append(forged, 0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6)
			p.Deliver(forged, netip.MustParseAddrPort("203.0.113.2:3478")) // not whom we asked
			p.Deliver(append([]byte{1, 1, 0, 8}, append(forged[4:20:20], 0, 0x20, 0, 1, 0, 0, 0, 0)...), to)
			p.Deliver(append([]byte{1, 1, 0, 4}, append(forged[4:20:20], 0, 0x20, 0, 0)...), to)
			forged[12] ^= 1
			p.Deliver(forged, to) // not what we asked
			return nil
		}})
		if got, err := p.Mapped(t.Context(), server); err == nil {
			t.Errorf("Mapped() = %v", got)
		}
	})
}

func TestMappedReportsSendError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("network is unreachable")
		p := punch.New(punch.Config{Write: func([]byte, netip.AddrPort) error { return broken }})
		if _, err := p.Mapped(t.Context(), netip.MustParseAddrPort("203.0.113.1:3478")); !errors.Is(err, broken) {
			t.Errorf("Mapped() = %v, want %v", err, broken)
		}
	})
}
