package integration_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// A farRelay is a relay on a machine of its own, some way off.
type farRelay struct {
	*role
	addr netip.AddrPort
	url  string
}

func startRelay(t *testing.T, lab *natlab.Lab, delay time.Duration) farRelay {
	t.Helper()
	site := lab.Site(natlab.SiteConfig{Kind: natlab.FullCone, Link: &natlab.Link{Rate: 200e6, Delay: delay, Queue: 1 << 20}})
	r := startRole(t, site.LAN, t.TempDir(), "signal", "--relay-only")
	_, key, _ := strings.Cut(strings.TrimPrefix(r.says("ready"), "relay://"), "/")
	addr := netip.AddrPortFrom(site.Public(), 7443)
	return farRelay{r, addr, "relay://" + addr.String() + "/" + key}
}

// TestRelays: of several relays the one that is nearest to both peers is used. When that
// is killed in the middle of a download and a stream another one carries on, and when the
// signal server is killed too, that still does.
func TestRelays(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	far, near := startRelay(t, lab, 30*time.Millisecond), startRelay(t, lab, 5*time.Millisecond)
	server := startRole(t, lab.Signal, t.TempDir(), "signal", "--listen", lab.Signal.Addr().String()+":7443",
		"--relay-capacity", "0", "--relay", far.url, "--relay", near.url)
	signalURL := server.says("ready")
	eventually(t, patience, "both relays answer", func() (string, bool) {
		relays := server.status().Relays
		return "", len(relays) == 2 && relays[0].Well && relays[1].Well
	})
	home, away := newHome(t, lab, natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	viewer.waitFrames(30)
	uses := func(want netip.AddrPort) func() (string, bool) {
		return func() (string, bool) {
			tunnels := gateway.status().Tunnels
			if len(tunnels) != 1 {
				return "", false
			}
			got := tunnels[0].Path + " " + tunnels[0].Remote
			return got, got == "relay-udp "+want.String()
		}
	}
	eventually(t, patience, "the near relay is used", uses(near.addr))

	eventually(t, patience, "both relays are measured", func() (string, bool) {
		paths := gateway.status().Tunnels[0].Paths
		if len(paths) != 3 { // and the websocket
			return fmt.Sprint(paths), false
		}
		a, b := paths[0], paths[1]
		if a.Remote != far.addr.String() {
			a, b = b, a
		}
		// Packets pass the line of a relay four times in a round trip.
		return fmt.Sprint(paths), b.InUse && b.BytesIn > 0 && b.RTT > 20 && a.RTT > 120 && b.RTT < a.RTT/2
	})

	for _, test := range []struct {
		name string
		kill *role
	}{{"the relay in use", near.role}, {"the signal server", server}} {
		t.Run(test.name, func(t *testing.T) {
			begun, killed := time.Now(), false
			d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
				if !killed && bytes > largeSize/3 {
					killed = true
					test.kill.kill()
				}
			})
			if d.err != nil || d.hash != home.hash || !killed {
				t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, home.hash, d.err)
			}
			viewer.waitFrames(30)
			_, stall := viewer.out.countSince(begun, isFrame)
			t.Logf("the download stalled for %v, the stream for %v", d.stall.Round(time.Millisecond), stall.Round(time.Millisecond))
			if d.stall > 2*longestStall || stall > 2*longestStall {
				t.Errorf("stalls of %v and %v", d.stall, stall)
			}
			eventually(t, patience, "the far relay is used", uses(far.addr))
		})
	}
}

// TestDistantRelay: a relay that is much farther than the signal server is found, compared,
// and not used: no request waits for it.
func TestDistantRelay(t *testing.T) {
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	distant := startRelay(t, lab, 200*time.Millisecond) // packets pass its line four times in a round trip
	server := startRole(t, lab.Signal, t.TempDir(), "signal", "--listen", lab.Signal.Addr().String()+":7443",
		"--relay-capacity", "0", "--relay", distant.url)
	signalURL := server.says("ready")
	eventually(t, patience, "the relay answers", func() (string, bool) { return "", server.status().Relays[0].Well })
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
	web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	request := func() {
		t.Helper()
		begun := time.Now()
		if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
			t.Fatal(d.err)
		}
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("a request took %v", took)
		}
		if tunnel := gateway.status().Tunnels[0]; tunnel.Path != "relay-ws" {
			t.Fatalf("the tunnel is %+v", tunnel)
		}
	}
	eventually(t, patience, "the relay is measured", func() (string, bool) {
		request()
		paths := gateway.status().Tunnels[0].Paths
		return fmt.Sprint(paths), len(paths) == 2 && paths[0].RTT > 700
	})
	for range 50 {
		request()
	}
	eventually(t, patience, "it is said why", func() (string, bool) {
		hitch := gateway.status().Tunnels[0].Hitch
		return hitch, hitch == "relays-worse"
	})
}

// TestRelaysOutliveARestart: a signal server that comes back and would choose other relays
// leaves a tunnel where it is: neither a download nor a stream notices.
func TestRelaysOutliveARestart(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	near := startRelay(t, lab, 5*time.Millisecond)
	relays := []farRelay{near}
	for range 3 {
		relays = append(relays, startRelay(t, lab, 30*time.Millisecond))
	}
	folder := t.TempDir()
	serve := func(relays []farRelay) *role {
		args := []string{"--listen", lab.Signal.Addr().String() + ":7443", "--relay-capacity", "0"}
		for _, r := range relays {
			args = append(args, "--relay", r.url)
		}
		return startRole(t, lab.Signal, folder, "signal", args...)
	}
	server := serve(relays)
	signalURL := server.says("ready")
	eventually(t, patience, "all relays answer", func() (string, bool) {
		known := server.status().Relays
		return "", len(known) == 4 && !slices.ContainsFunc(known, func(r relayStatus) bool { return !r.Well })
	})
	home, away := newHome(t, lab, natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
	_, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	viewer := watch(t, away.LAN, gateway.url("home", "cam"), "tcp")
	viewer.waitFrames(30)
	where := func() string {
		tunnels := gateway.status().Tunnels
		if len(tunnels) != 1 {
			return ""
		}
		return tunnels[0].Path + " " + tunnels[0].Remote
	}
	eventually(t, patience, "the near relay is used", func() (string, bool) {
		got := where()
		return got, got == "relay-udp "+near.addr.String()
	})

	slices.Reverse(relays) // the near one is not among the first three now
	begun, restarted := time.Now(), false
	d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/large", func(bytes int64) {
		if !restarted && bytes > largeSize/3 {
			restarted = true
			server.kill()
			server = serve(relays)
			server.says("ready")
		}
	})
	if d.err != nil || d.hash != home.hash || !restarted {
		t.Errorf("the download ended after %d bytes with hash %s (want %s): %v", d.bytes, d.hash, home.hash, d.err)
	}
	eventually(t, patience, "the gateway is back", func() (string, bool) { return "", gateway.status().Signal.Connected })
	for range 5 { // what the server grants now has come, and what it means
		viewer.waitFrames(30)
		if got, want := where(), "relay-udp "+near.addr.String(); got != want {
			t.Errorf("after the restart the tunnel is on %s, want %s", got, want)
		}
	}
	_, stall := viewer.out.countSince(begun, isFrame)
	t.Logf("the stream stalled for %v", stall.Round(time.Millisecond))
	if stall > 500*time.Millisecond {
		t.Errorf("the stream stalled for %v", stall)
	}
}
