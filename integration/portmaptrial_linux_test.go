package integration_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// TestNetcheckOpensPort asks what a network is like whose router opens ports, by which
// something comes in or not. What the router did for a program that runs stays as it is.
func TestNetcheckOpensPort(t *testing.T) {
	t.Parallel()
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	lab := natlab.NewAt(t, publicNetwork())
	startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	for _, test := range []struct {
		name    string
		cfg     natlab.PortMapping
		verdict string
		codes   []string
	}{
		{"pcp", natlab.PortMapping{PCP: true, NATPMP: true, UPnP: true}, "easy: the router opens a port", nil},
		{"nat-pmp", natlab.PortMapping{NATPMP: true}, "easy: the router opens a port", nil},
		{"upnp", natlab.PortMapping{UPnP: true}, "easy: the router opens a port", nil},
		{"shut", natlab.PortMapping{PCP: true, UPnP: true, Shut: true}, "hard", []string{"nat-symmetric", "port-not-open"}},
		{"shut, upnp", natlab.PortMapping{UPnP: true, Shut: true}, "hard", []string{"nat-symmetric", "port-not-open"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := lab.Site(natlab.SiteConfig{Kind: natlab.Symmetric})
			daemon := site.MapPorts(test.cfg)
			taken := netip.AddrPortFrom(site.Public(), 40000)
			opener := startHelper(t, site.LAN, "open-port", "40000", "1h")
			if got := opener.says("address"); got != taken.String() {
				t.Fatalf("the address is %s, want %v", got, taken)
			}
			before := daemon.Mappings()
			nobody := &role{process: &process{t: t}, state: t.TempDir()}
			begun := time.Now()
			out, code := nobody.asks(site.LAN, "netcheck", "--json", "--signal", lab.Signal.Addr().String())
			t.Log("took", time.Since(begun).Round(time.Millisecond))
			var got struct {
				Verdict  string
				Tried    bool `json:"port_tried"`
				Reached  bool `json:"port_reached"`
				Opened   string
				Findings []struct{ Code string }
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, out)
			}
			var codes []string
			for _, f := range got.Findings {
				codes = append(codes, f.Code)
			}
			if !strings.HasPrefix(got.Verdict, test.verdict) || !slices.Equal(codes, test.codes) || !got.Tried || got.Reached == test.cfg.Shut ||
				!strings.HasPrefix(got.Opened, site.Public().String()+":") || got.Opened == taken.String() {
				t.Errorf("netcheck says %+v", got)
			}
			if rules := daemon.Mappings(); !slices.Equal(rules, before) {
				t.Errorf("there is %v, and was %v before", rules, before)
			}
			if got := reaches(t, lab.Signal, taken); got == test.cfg.Shut {
				t.Errorf("the port of the program that runs is reached: %v", got)
			}
			opener.signal(os.Interrupt)
		})
	}
}

// TestNetcheckInterrupted ends netcheck while the router has a port open for it.
func TestNetcheckInterrupted(t *testing.T) {
	t.Parallel()
	if reason := natlab.Unmappable(); reason != "" {
		t.Skip(reason)
	}
	lab := natlab.NewAt(t, publicNetwork())
	startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	for name, cfg := range map[string]natlab.PortMapping{
		"pcp": {PCP: true, Shut: true}, "nat-pmp": {NATPMP: true, Shut: true}, "upnp": {UPnP: true, Shut: true},
	} {
		t.Run(name, func(t *testing.T) {
			site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
			daemon := site.MapPorts(cfg)
			netcheck := start(t, site.LAN, binary(t), "netcheck", "--signal", lab.Signal.Addr().String(), "--state", t.TempDir())
			eventually(t, patience, "a port is open", func() (string, bool) {
				rules := daemon.Mappings()
				return strings.Join(rules, "; "), len(rules) == 1
			})
			code, took := netcheck.signal(os.Interrupt)
			if code != 130 || took > time.Second {
				t.Errorf("the end took %v, with code %d", took, code)
			}
			if rules := daemon.Mappings(); len(rules) > 0 {
				t.Errorf("it left %v", rules)
			}
		})
	}
}
