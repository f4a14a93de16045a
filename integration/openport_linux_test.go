package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestOpenPort puts both behind symmetric NATs, between which there is no direct path,
// unless the router of one of them opens a port for its peer. Whoever is behind that may be
// the end that dials or the one that answers.
func TestOpenPort(t *testing.T) {
	t.Parallel()
	need(t, "camera", "ffmpeg", "nginx", "curl")
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	for _, test := range []struct {
		name       string
		home, away natlab.PortMapping
	}{
		{"pcp at home", natlab.PortMapping{PCP: true, NATPMP: true, UPnP: true}, natlab.PortMapping{}},
		{"upnp at home", natlab.PortMapping{UPnP: true}, natlab.PortMapping{}},
		{"nat-pmp away", natlab.PortMapping{}, natlab.PortMapping{NATPMP: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lab := natlab.NewAt(t, publicNetwork())
			_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
			home, away := newHome(t, lab, natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
			site, daemon := home.Site, (*natlab.Daemon)(nil)
			if test.home != (natlab.PortMapping{}) {
				daemon = home.MapPorts(test.home)
			} else {
				site, daemon = away, away.MapPorts(test.away)
			}
			peer, code := home.expose(t, signalURL, "home")
			if rules := daemon.Mappings(); len(rules) != 0 {
				t.Errorf("a port is open before anybody needs it: %v", rules)
			}
			gateway := connect(t, away.LAN, code)
			begun := time.Now()
			wantEverything(t, away.LAN, home, gateway, "direct")
			t.Logf("all of it took %v", time.Since(begun).Round(time.Millisecond))
			if remote := gateway.remote(); site == home.Site && remote.Addr() != home.Public() {
				t.Errorf("the path leads to %v, want %v", remote, home.Public())
			}
			opener := gateway
			if site == home.Site {
				opener = peer
			}
			if port := opener.status().Port; port == nil || !port.Reached || !strings.HasPrefix(port.Address, site.Public().String()+":") {
				t.Errorf("status tells of the port %+v", port)
			}
			if _, ok := opener.err.find(patience, saysOpen); !ok {
				t.Error("the log does not tell of the port")
			}
			gateway.stop(syscall.SIGINT)
			peer.stop(syscall.SIGINT)
			if rules := daemon.Mappings(); len(rules) != 0 {
				t.Errorf("the port is still open: %v", rules)
			}
		})
	}
}

// saysOpen reports whether a line of the log is that of an open port.
func saysOpen(line string) bool { return strings.Contains(line, "port is open at the router") }

// TestOpenPortShut puts a peer behind a router by whose ports nothing comes in, whatever it says: it does
// not tell anybody that one is open.
func TestOpenPortShut(t *testing.T) {
	t.Parallel()
	need(t, "camera", "ffmpeg", "nginx", "curl")
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	lab := natlab.NewAt(t, publicNetwork())
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home, away := newHome(t, lab, natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
	home.MapPorts(natlab.PortMapping{PCP: true, Shut: true})
	peer, code := home.expose(t, signalURL, "home")
	gateway := connect(t, away.LAN, code)
	if out, code := gateway.asks(away.LAN, "ping", "home", "--count", "1"); code != 0 {
		t.Fatalf("ping ends with %d: %s", code, out)
	}
	eventually(t, patience, "the router has said that the port is open", func() (string, bool) {
		port := peer.status().Port
		return fmt.Sprint(port), port != nil && !port.Reached
	})
	peer.stop(syscall.SIGINT)
	if slices.ContainsFunc(peer.err.all(), saysOpen) {
		t.Error("it says that the port is open")
	}
}

// TestOpenPortKilled kills a peer, which leaves its port open at the router. The next process has the same
// one opened again, and closes it in the end.
func TestOpenPortKilled(t *testing.T) {
	t.Parallel()
	need(t, "camera", "ffmpeg", "nginx", "curl")
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	lab := natlab.NewAt(t, publicNetwork())
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	for name, cfg := range map[string]natlab.PortMapping{"pcp": {PCP: true}, "nat-pmp": {NATPMP: true}, "upnp": {UPnP: true}} {
		t.Run(name, func(t *testing.T) {
			home, away := newHome(t, lab, natlab.SiteConfig{Kind: natlab.Symmetric}), lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
			daemon := home.MapPorts(cfg)
			peer, code := home.expose(t, signalURL, name)
			gateway := connect(t, away.LAN, code)
			open := func() (rules []string, port string) {
				t.Helper()
				if out, code := gateway.asks(away.LAN, "ping", name, "--count", "1"); code != 0 {
					t.Fatalf("ping ends with %d: %s", code, out)
				}
				eventually(t, patience, "the port is open", func() (string, bool) {
					at := peer.status().Port
					if at == nil || !at.Reached {
						return fmt.Sprint(at), false
					}
					port = at.Address
					return port, true
				})
				return daemon.Mappings(), port
			}
			rules, port := open()
			for range 2 {
				peer.kill()
				peer = startRole(t, home.LAN, peer.state, "expose", "--signal", signalURL, "--name", name, "cam="+home.cam.url, "web="+home.web)
				peer.says("ready")
				if nowRules, now := open(); now != port || !slices.Equal(nowRules, rules) {
					t.Errorf("the port is %s and was %s; the router has %v and had %v", now, port, nowRules, rules)
				}
			}
			gateway.stop(syscall.SIGINT)
			peer.stop(syscall.SIGINT)
			if rules := daemon.Mappings(); len(rules) != 0 {
				t.Errorf("the port is still open: %v", rules)
			}
		})
	}
}
