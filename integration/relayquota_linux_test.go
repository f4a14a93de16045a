package integration_test

import (
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestRelayQuota: what two peers may relay in a day ends a download, soon and with the
// reason, on UDP and on the websocket; a new tunnel has no new quota, and status and the
// page of the next request say why, until the server is another process.
func TestRelayQuota(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	server := startRole(t, lab.Signal, t.TempDir(), "signal", "--listen", lab.Signal.Addr().String()+":7443", "--relay-quota", "4")
	signalURL := server.says("ready")
	for _, kind := range []natlab.Kind{natlab.Symmetric, natlab.UDPBlocked} {
		t.Run(kind.String(), func(t *testing.T) {
			name := "home-" + strings.ToLower(kind.String())[:3]
			home, away := lab.Site(natlab.SiteConfig{Kind: kind}), lab.Site(natlab.SiteConfig{Kind: kind})
			web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
			_, code := expose(t, home.LAN, signalURL, name, "web="+web)
			gateway := connect(t, away.LAN, code)
			if d := fetch(t.Context(), away.LAN, gateway.url(name, "web")+"/small", nil); d.err != nil {
				t.Fatal(d.err)
			}
			if kind == natlab.Symmetric {
				gateway.waitPath(patience, name, "relay-udp")
			}
			told := ""
			begun := time.Now()
			d := fetch(t.Context(), away.LAN, gateway.url(name, "web")+"/large", func(bytes int64) {
				if told != "" || bytes < 4<<20 {
					return
				}
				if tunnels := gateway.status().Tunnels; len(tunnels) == 1 {
					told = tunnels[0].Exhausted
				}
			})
			t.Logf("the download ended after %v and %d bytes: %v; status said %q", time.Since(begun).Round(time.Millisecond), d.bytes, d.err, told)
			if d.err == nil || d.bytes > 9<<20 {
				t.Errorf("the download ended after %d bytes: %v", d.bytes, d.err)
			}
			if kind == natlab.Symmetric && !strings.Contains(told, "used up") {
				t.Errorf("while the websocket carried on, status said %q", told)
			}
			begun = time.Now()
			page, err := away.LAN.Command(t.Context(), "curl", "--silent", "--noproxy", "*", gateway.url(name, "web")+"/small").Output()
			took := time.Since(begun)
			t.Logf("the next request took %v: %.300s", took.Round(time.Millisecond), page)
			if err != nil || !strings.Contains(string(page), "quota for this pair is used up until") || took > 8*time.Second {
				t.Errorf("the next request took %v: %v, %s", took, err, page)
			}
			if out, _ := gateway.asks(away.LAN, "status"); !strings.Contains(out, "quota for this pair is used up until") {
				t.Errorf("without a tunnel, status says\n%s", out)
			}
			if kind != natlab.UDPBlocked {
				return
			}
			server.kill()
			startRole(t, lab.Signal, server.state, "signal", "--listen", lab.Signal.Addr().String()+":7443").says("ready")
			eventually(t, patience, "the quota is forgotten with the server that had it", func() (string, bool) {
				out, _ := gateway.asks(away.LAN, "status")
				return out, strings.Contains(out, ", connected") && !strings.Contains(out, "used up")
			})
		})
	}
}
