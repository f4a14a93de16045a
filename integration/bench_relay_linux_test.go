package integration_test

import (
	"fmt"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// BenchmarkRelays downloads on each kind of path in turn, on a line of 200 Mbit/s, and
// reports what the relays carry as a share of what the direct path does.
func BenchmarkRelays(b *testing.B) {
	need(b, "nginx", "curl")
	const rate, rounds = 200e6, 3
	lab := natlab.New(b)
	_, signalURL := startSignal(b, lab.Signal, lab.Signal.Addr().String()+":7443")
	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	away := lab.Site(natlab.SiteConfig{
		Kind: natlab.PortRestricted,
		Link: &natlab.Link{Rate: rate, Delay: 10 * time.Millisecond, Queue: 1 << 20},
	})
	web, hash := startWeb(b, home.LAN, home.LAN.Addr().String())
	_, code := expose(b, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(b, away.LAN, code)
	large := gateway.url("home", "web") + "/large"
	for b.Loop() {
		speed := map[string][]float64{}
		for range rounds {
			for _, path := range []struct {
				name string
				cut  func()
			}{
				{"direct", func() { home.Heal() }},
				{"relay-udp", func() { home.Drop(away) }},
				{"relay-ws", func() { home.SetKind(natlab.UDPBlocked) }},
			} {
				path.cut()
				if d := fetch(b.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
					b.Fatal(d.err)
				}
				gateway.waitPath(3*time.Minute, "home", path.name)
				wantFile(b, away.LAN, large, hash) // finds the rate
				begun := time.Now()
				wantFile(b, away.LAN, large, hash)
				speed[path.name] = append(speed[path.name], float64(largeSize)*8/1e6/time.Since(begun).Seconds())
			}
			home.SetKind(natlab.PortRestricted)
		}
		t := newTable(fmt.Sprintf("a download of %d MB on a line of 200 Mbit/s, 20 ms, median of %d", largeSize/1_000_000, rounds), "Mbit/s", "of direct")
		direct := median(speed["direct"], func(s float64) float64 { return s })
		for _, name := range []string{"direct", "relay-udp", "relay-ws"} {
			got := median(speed[name], func(s float64) float64 { return s })
			t.row(name, fmt.Sprintf("%.0f", got), fmt.Sprintf("%.2f", got/direct))
		}
		t.print()
	}
	b.ReportMetric(0, "ns/op")
}
