package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"peerway/integration/natlab"
)

// asks runs a command of peerway that ends by itself, with the state of a role, and
// returns what it prints and its exit code.
func (r *role) asks(at place, args ...string) (out string, code int) {
	r.t.Helper()
	cmd := at.Command(r.t.Context(), binary(r.t), append(args, "--state", r.state)...)
	b, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), exit.ExitCode()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b), 0
}

// TestNetcheck asks what a network is like in each kind of it.
func TestNetcheck(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t)
	startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	for _, test := range []struct {
		kind               natlab.Kind
		mapping, filtering string
		udp                bool
		code               string
	}{
		{natlab.FullCone, "endpoint", "endpoint", true, ""},
		{natlab.PortRestricted, "endpoint", "dependent", true, ""},
		{natlab.Symmetric, "dependent", "dependent", true, "nat-symmetric"},
		{natlab.UDPBlocked, "", "", false, "udp-blocked"},
	} {
		t.Run(test.kind.String(), func(t *testing.T) {
			site := lab.Site(natlab.SiteConfig{Kind: test.kind})
			nobody := &role{process: &process{t: t}, state: t.TempDir()}
			out, code := nobody.asks(site.LAN, "netcheck", "--json", "--signal", lab.Signal.Addr().String())
			var got struct {
				UDP                        bool
				Mapped, Mapping, Filtering string
				Findings                   []struct{ Code string }
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, out)
			}
			if got.UDP != test.udp || got.Mapping != test.mapping || got.Filtering != test.filtering ||
				test.udp && !strings.HasPrefix(got.Mapped, site.Public().String()) {
				t.Errorf("%+v, want %+v", got, test)
			}
			var codes []string
			for _, f := range got.Findings {
				codes = append(codes, f.Code)
			}
			if test.code == "" && len(codes) > 0 || test.code != "" && !slices.Equal(codes, []string{test.code}) {
				t.Errorf("found is %v, want %q", codes, test.code)
			}
		})
	}
}

// TestNetcheckStacks asks what networks with IPv6 are like.
func TestNetcheckStacks(t *testing.T) {
	lab := natlab.New(t)
	startSignalByName(t, lab)
	for _, test := range []struct {
		stack   natlab.Stack
		kind    natlab.Kind
		mapping string // of IPv4, if there is that
		has4    bool
		has6    bool
	}{
		{natlab.IPv4, natlab.PortRestricted, "endpoint", true, false},
		{natlab.IPv6, natlab.PortRestricted, "none", false, true},
		{natlab.IPv6, natlab.UDPBlocked, "", false, false},
		{natlab.Dual, natlab.Symmetric, "dependent", true, true},
	} {
		t.Run(fmt.Sprintf("%v %v", test.stack, test.kind), func(t *testing.T) {
			site := lab.Site(natlab.SiteConfig{Kind: test.kind, Stack: test.stack})
			nobody := &role{process: &process{t: t}, state: t.TempDir()}
			out, code := nobody.asks(site.LAN, "netcheck", "--json", "--signal", natlab.SignalName)
			var got struct {
				UDP                      bool
				Mapped, Mapped6, Mapping string
				Verdict                  string
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v: %s", code, err, out)
			}
			inside6 := "[" + site.LAN.Addr6().String() + "]:"
			if got.UDP != (test.has4 || test.has6) || got.Mapping != test.mapping ||
				strings.HasPrefix(got.Mapped, site.Public().String()+":") != test.has4 ||
				strings.HasPrefix(got.Mapped6, inside6) != test.has6 {
				t.Errorf("%s, want %+v", out, test)
			}
			if only := test.has6 && !test.has4; strings.HasPrefix(got.Verdict, "IPv6 only: direct") != only {
				t.Errorf("the verdict is %q", got.Verdict)
			}
			if test.stack == natlab.IPv6 {
				out, code := nobody.asks(site.LAN, "netcheck", "--signal", lab.Signal.Addr().String())
				if code != 6 || !strings.Contains(out, "\nserver-other-version: this machine has IPv6 only") || !strings.Contains(out, "not known: nobody could be asked") {
					t.Errorf("of a server with IPv4 only, netcheck says with %d\n%s", code, out)
				}
			}
		})
	}
}

// TestDoctor asks about a peer and its services while one thing after the other breaks.
func TestDoctor(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	server, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
	peer, pairing := expose(t, home.LAN, signalURL, "home", "web="+web, "dead=http://127.0.0.1:1", "cam=rtsp"+strings.TrimPrefix(web, "http"))
	gateway := connect(t, away.LAN, pairing)

	want := func(code int, args []string, texts ...string) {
		t.Helper()
		out, got := gateway.asks(away.LAN, args...)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("%v says\n%swithout %q", args, out, text)
			}
		}
		if got != code {
			t.Errorf("%v ends with %d, want %d: %s", args, got, code, out)
		}
	}
	eventually(t, patience, "the peer is online", func() (string, bool) { // it may not have kept the pairing yet
		out, code := gateway.asks(away.LAN, "ls")
		return out, code == 0 && strings.Contains(out, "web") && strings.Contains(out, "online")
	})
	want(0, []string{"ping", "home"}, "pong from home over ", "over direct (203.0.113.")
	want(0, []string{"doctor", "home/web"}, "✔ the tunnel goes direct\n✔ the service answers\n")
	want(1, []string{"doctor", "home/nothing"}, "✔ the tunnel goes direct\n✘ the service answers\n", "service-unknown: ")
	want(1, []string{"doctor", "home/dead"}, "service-down: ")
	want(1, []string{"doctor", "home/cam"}, "✘ the service answers\n", "service-down: it speaks HTTP, not RTSP")
	want(1, []string{"doctor", "office"}, "✘ the peer is online", "peer-unknown: ")
	want(4, []string{"ping", "office"})

	home.Drop(away)
	eventually(t, 2*patience, "both ends know why there is no direct path", func() (string, bool) {
		out, _ := gateway.asks(away.LAN, "ping", "--count", "1", "home")
		return out, strings.Count(out, ": none of ") == 2
	})
	want(0, []string{"doctor", "home"}, "✔ the peer answers\n! the tunnel goes direct", "relayed: home is reached over relay-udp; this side: none of ", "; home: none of ")
	home.Heal()
	peer.kill()
	gateway.waitNoTunnels(patience)
	want(5, []string{"ping", "home"})
	want(1, []string{"doctor", "home/web"}, "✘ the peer is online\n· the peer answers", "peer-offline: ")
	server.kill()
	eventually(t, patience, "the gateway has lost the signal server", func() (string, bool) {
		s := gateway.status().Signal
		return fmt.Sprintf("%+v", s), !s.Connected
	})
	want(1, []string{"doctor", "home/web"}, "✘ the signal server can be reached", "server-unreachable: ")
}

// TestWhyAtOnce: what both sides know of their networks is said with the first answer, long
// before an attempt has failed; and it is no reason for doctor to complain.
func TestWhyAtOnce(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "curl")
	for _, test := range []struct {
		name       string
		home, away natlab.Kind
		flags      []string // of connect
		codes      []string
	}{
		{"symmetric", natlab.Symmetric, natlab.Symmetric, []string{"--no-port-mapping"}, []string{"nats-symmetric: ", "\nno-port-mapping: --no-port-mapping here"}},
		{"metered", natlab.Symmetric, natlab.PortRestricted, []string{"--metered"}, []string{"\nmetered: --metered here"}},
		{"no UDP", natlab.UDPBlocked, natlab.PortRestricted, nil, []string{"peer-no-udp: UDP does not pass at home"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lab := natlab.New(t)
			_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
			home, away := lab.Site(natlab.SiteConfig{Kind: test.home}), lab.Site(natlab.SiteConfig{Kind: test.away})
			web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
			_, pairing := expose(t, home.LAN, signalURL, "home", "web="+web)
			gateway := startRole(t, away.LAN, t.TempDir(), "connect", append(test.flags, pairing, "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")...)
			gateway.says("ready")
			begun := time.Now()
			eventually(t, patience, "the reasons are said", func() (string, bool) {
				out, _ := gateway.asks(away.LAN, "ping", "--count", "1", "home")
				return out, !slices.ContainsFunc(test.codes, func(code string) bool { return !strings.Contains(out, code) })
			})
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("that took %v", took)
			}
			for _, ask := range [][]string{{"status"}, {"doctor", "home/web"}} {
				out, code := gateway.asks(away.LAN, ask...)
				for _, want := range append(test.codes, "relayed: home is reached over relay-") {
					if !strings.Contains(out, want) {
						t.Errorf("%v says\n%swithout %q", ask, out, want)
					}
				}
				if code != 0 || strings.Contains(out, "✘") {
					t.Errorf("%v ends with %d:\n%s", ask, code, out)
				}
			}
		})
	}
}

// TestUDPCeasesToPass: a peer whose network begins to let no UDP through under a live tunnel
// finds that out and says so, and again when it passes.
func TestUDPCeasesToPass(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "curl")
	lab := natlab.New(t)
	_, signalURL := startSignal(t, lab.Signal, lab.Signal.Addr().String()+":7443")
	home, away := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted}), lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	web, _ := startWeb(t, home.LAN, home.LAN.Addr().String())
	_, code := expose(t, home.LAN, signalURL, "home", "web="+web)
	gateway := connect(t, away.LAN, code)
	if d := fetch(t.Context(), away.LAN, gateway.url("home", "web")+"/small", nil); d.err != nil {
		t.Fatal(d.err)
	}
	gateway.waitPath(patience, "home", "direct")
	home.SetKind(natlab.UDPBlocked)
	eventually(t, 40*time.Second, "it is said", func() (string, bool) {
		out, _ := gateway.asks(away.LAN, "ping", "--count", "1", "home")
		return out, strings.Contains(out, "peer-no-udp: UDP does not pass at home") && !strings.Contains(out, "relays-")
	})
	home.SetKind(natlab.PortRestricted)
	gateway.waitPath(3*time.Minute, "home", "direct")
	eventually(t, patience, "it is not said any more", func() (string, bool) {
		out, _ := gateway.asks(away.LAN, "status", "--json")
		return out, !strings.Contains(out, `"no-udp"`)
	})
}
