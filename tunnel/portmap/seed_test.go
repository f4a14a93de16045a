package portmap

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

// What is asked of a router depends on nothing but the seed and, for the nonce, the router.
func TestSeed(t *testing.T) {
	a, b := Seed{1}, Seed{2}
	home, away := netip.MustParseAddrPort("192.168.1.1:5351"), netip.MustParseAddrPort("192.168.0.1:5351")
	ports := map[uint16]bool{}
	for n := range 2 * maxPorts {
		port := a.port(n)
		if port < 49152 || port != (Seed{1}).port(n) || port == b.port(n) {
			t.Errorf("port %d is %d", n, port)
		}
		ports[port] = true
	}
	if len(ports) != 2*maxPorts || !ports[a.Port()] {
		t.Errorf("ports are %v, want different ones", ports)
	}
	if n := a.nonce(home); n != (Seed{1}).nonce(home) || n == a.nonce(away) || n == b.nonce(home) {
		t.Errorf("the nonce is %x", n)
	}
	for _, text := range []string{fmt.Sprint(a), fmt.Sprintf("%v %+v %s", a, Config{Seed: a}, a), slog.AnyValue(a).Resolve().String()} {
		if !strings.Contains(text, "(secret)") || strings.Contains(text, "1 0 0") {
			t.Errorf("a seed shows as %q", text)
		}
	}
}
