package portmap

import (
	"errors"
	"net/netip"
	"testing"
)

const routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

func TestGatewayIn(t *testing.T) {
	const (
		worse  = "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
		better = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
		half   = "tun0\t00000000\t0108080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
		direct = "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
	)
	for name, test := range map[string]struct{ table, want string }{
		"two":            {routes + worse + better, "192.168.1.1"},
		"half of a VPN":  {routes + half + worse, "192.168.2.1"},
		"point to point": {routes + direct + better, ""},
		"none":           {routes, ""},
		"empty":          {"", ""},
		"other words":    {"a b c d e f g h\neth0 00000000 xx 0003 0 0 y 00000000\n", ""},
	} {
		got, err := gatewayIn(test.table)
		if test.want == "" {
			if !errors.Is(err, errNoGateway) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			continue
		}
		if err != nil || got != netip.MustParseAddr(test.want) {
			t.Errorf("%s: %v, %v, want %s", name, got, err, test.want)
		}
	}
}
