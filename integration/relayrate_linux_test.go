package integration_test

import (
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestRelayRate: the operator of a signal server decides how much two peers relay, on UDP
// and on the websocket, and the tunnel keeps to it without breaking.
func TestRelayRate(t *testing.T) {
	need(t, "nginx", "curl")
	const rate = 100e6
	lab := natlab.New(t)
	server := startRole(t, lab.Signal, t.TempDir(), "signal", "--listen", lab.Signal.Addr().String()+":7443", "--relay-rate", "100")
	signalURL := server.says("ready")
	for _, test := range []struct {
		kind natlab.Kind
		path string
	}{{natlab.Symmetric, "relay-udp"}, {natlab.UDPBlocked, "relay-ws"}} {
		t.Run(test.path, func(t *testing.T) {
			home, away := lab.Site(natlab.SiteConfig{Kind: test.kind}), lab.Site(natlab.SiteConfig{Kind: test.kind})
			web, hash := startWeb(t, home.LAN, home.LAN.Addr().String())
			_, code := expose(t, home.LAN, signalURL, "home-"+test.path, "web="+web)
			gateway := connect(t, away.LAN, code)
			if d := fetch(t.Context(), away.LAN, gateway.url("home-"+test.path, "web")+"/small", nil); d.err != nil {
				t.Fatal(d.err)
			}
			gateway.waitPath(patience, "home-"+test.path, test.path)
			begun := time.Now()
			wantFile(t, away.LAN, gateway.url("home-"+test.path, "web")+"/large", hash)
			got := float64(largeSize) * 8 / time.Since(begun).Seconds()
			t.Logf("%.0f of %.0f Mbit/s", got/1e6, rate/1e6)
			if got > 1.1*rate || got < 0.5*rate {
				t.Errorf("%.0f Mbit/s, want at most %.0f and most of it", got/1e6, rate/1e6)
			}
		})
	}
}
