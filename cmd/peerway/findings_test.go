package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerway/signal/client"
	"peerway/tunnel/network"
	"peerway/tunnel/portmap"
)

// well is a machine on which all is well, and a peer with a service.
func well() *facts {
	public := netip.MustParseAddrPort("203.0.113.7:5000")
	return &facts{
		Server: "203.0.113.10:7443", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.2")},
		NAT:    network.NAT{Mapped: public, Mapping: network.Endpoint, Filtering: network.Dependent},
		Probed: true, Running: &report{Signal: signalReport{Connected: true}},
		Peer: "home", Service: "cam", Pong: &pong{Peer: "home", Path: "direct"},
	}
}

// Each code has a case in which it alone is found.
func TestFindings(t *testing.T) {
	offline := &askError{Code: "peer-offline", Reason: "offline"}
	refused := fmt.Errorf("%w: refused", client.ErrUnreachable)
	cases := map[string]func(*facts){
		"no-network": func(f *facts) {
			f.Addresses = nil
			f.Hello = refused
			f.Probed = false
			f.Running.Signal.Connected = false
		},
		"no-server": func(f *facts) { f.Server = ""; f.Probed = false; f.NAT = network.NAT{} },
		"server-unreachable": func(f *facts) {
			f.Hello = refused
			f.Probed = false
			f.NAT = network.NAT{}
			f.Running.Signal.Connected = false
			f.Pong, f.PongErr = nil, offline
		},
		"server-unknown": func(f *facts) {
			f.Hello, f.Probed = fmt.Errorf("%w: %w", client.ErrUnreachable, &net.DNSError{Name: "nobody.invalid", Err: "no such host"}), false
		},
		"server-other-version": func(f *facts) {
			f.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::2")}
			f.Hello, f.Probed, f.Servers = refused, false, []netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:7443")}
		},
		"server-silent":     func(f *facts) { f.Hello, f.Probed = client.ErrSilent, false },
		"server-not-signal": func(f *facts) { f.Hello, f.Probed = client.ErrNotSignal, false },
		"server-other-key": func(f *facts) {
			f.Hello, f.Probed = &client.RefusedError{Code: client.WrongPin, Text: "another key"}, false
		},
		"udp-unasked":     func(f *facts) { f.NAT, f.Probed = network.NAT{}, false },
		"server-by-proxy": func(f *facts) { f.Proxy = "http://proxy:3128" },
		"udp-blocked":     func(f *facts) { f.NAT = network.NAT{} },
		"nat-symmetric": func(f *facts) {
			f.NAT.Mapping = network.Dependent
			f.Pong.Path = "relay-udp"
		},
		"nat-symmetric-regular": func(f *facts) { f.NAT.Mapping, f.NAT.Delta = network.Dependent, 2 },
		"double-nat": func(f *facts) {
			f.Router = portmap.Report{Protocols: []portmap.Protocol{portmap.UPnP}, External: netip.MustParseAddr("192.168.0.2")}
		},
		"port-not-open": func(f *facts) {
			f.Router = portmap.Report{Protocols: []portmap.Protocol{portmap.PCP}, Opened: netip.MustParseAddrPort("203.0.113.7:40000")}
			f.Tried = true
		},
		"nat-unknown":   func(f *facts) { f.NAT.Mapping = network.Unknown },
		"not-running":   func(f *facts) { f.Running, f.Pong = nil, nil },
		"not-logged-in": func(f *facts) { f.Running.Signal.Connected = false; f.Pong, f.PongErr = nil, offline },
		"peer-unknown":  func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "unknown-name", Reason: "who?"} },
		"peer-elsewhere": func(f *facts) {
			f.Running.Peers = []peerReport{{Name: "home", PairedAt: "198.51.100.1:7443"}}
			f.Pong, f.PongErr = nil, offline
		},
		"peer-offline": func(f *facts) { f.Pong, f.PongErr = nil, offline },
		"peer-refuses": func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "not-allowed", Reason: "no"} },
		"no-answer":    func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "no-path", Reason: "silence", Fix: "wait"} },
		"relayed":      func(f *facts) { f.Pong.Path, f.Pong.Why = "relay-udp", "the NAT is hard" },
		"no-udp": func(f *facts) {
			f.Pong.Path, f.Pong.Hitch, f.Pong.Limits = "relay-ws", "relays-silent", []string{limitNoUDP, limitMetered, limitShut}
		},
		"peer-no-udp": func(f *facts) {
			f.Pong.Path, f.Pong.Hitch, f.Pong.PeerLimits = "relay-ws", "relays-blocked", []string{limitNoUDP, limitHard}
		},
		"no-stun":      func(f *facts) { f.Pong.Path, f.Pong.Limits = "relay-udp", []string{limitUnasked} },
		"peer-no-stun": func(f *facts) { f.Pong.Path, f.Pong.PeerLimits = "relay-udp", []string{limitUnasked} },
		"metered":      func(f *facts) { f.Pong.Path, f.Pong.Limits = "relay-udp", []string{limitHard, limitMetered} },
		"peer-metered": func(f *facts) {
			f.Pong.Path, f.Pong.PeerLimits, f.Pong.PeerWhy = "relay-udp", []string{limitMetered}, "nobody answers"
		},
		"no-port-mapping": func(f *facts) {
			f.Pong.Path, f.Pong.Limits, f.Pong.Why = "relay-udp", []string{limitShut}, "nobody answers"
		},
		"peer-no-port-mapping": func(f *facts) {
			f.Pong.Path, f.Pong.PeerLimits, f.Pong.Why = "relay-udp", []string{limitShut}, "nobody answers"
		},
		"nats-symmetric": func(f *facts) {
			f.Pong.Path, f.Pong.Limits, f.Pong.PeerLimits = "relay-udp", []string{limitHard, limitMetered}, []string{limitHard}
		},
		"nat-passing":      func(f *facts) { f.Pong.Path, f.Pong.Limits = "relay-udp", []string{limitHard} },
		"peer-nat-passing": func(f *facts) { f.Pong.Path, f.Pong.PeerLimits = "relay-udp", []string{limitHard} },
		"no-relay":         func(f *facts) { f.Pong.Path, f.Pong.Hitch = "relay-ws", "no-relay" },
		"relays-silent":    func(f *facts) { f.Pong.Path, f.Pong.Hitch = "relay-ws", "relays-silent" },
		"relays-full":      func(f *facts) { f.Pong.Path, f.Pong.Hitch = "relay-ws", "relays-full" },
		"relays-blocked":   func(f *facts) { f.Pong.Path, f.Pong.Hitch = "relay-ws", "relays-blocked" },
		"relays-worse":     func(f *facts) { f.Pong.Path, f.Pong.Hitch = "relay-ws", "relays-worse" },
		"service-unknown":  func(f *facts) { f.ServiceErr = &askError{Code: "unknown-name", Reason: "no such service"} },
		"service-down":     func(f *facts) { f.ServiceErr = &askError{Code: "upstream", Reason: "refused", Fix: "start it"} },
	}
	if all := diagnose(well(), steps()); len(all) != 0 {
		t.Errorf("all is well, but found is %+v", all)
	}
	for _, d := range findings() {
		spoil := cases[d.code]
		if spoil == nil {
			t.Errorf("%s: no case", d.code)
			continue
		}
		f := well()
		spoil(f)
		all := slices.DeleteFunc(diagnose(f, steps()), func(other found) bool { return other.Code == "relayed" && d.code != "relayed" })
		if len(all) != 1 || all[0].Code != d.code || all[0].Text == "" || all[0].Fix == "" && d.weight != remark {
			t.Errorf("%s: found is %+v", d.code, all)
		}
		if !slices.Contains(steps(), d.step) {
			t.Errorf("%s: there is no step %q", d.code, d.step)
		}
		for _, code := range d.after {
			if !slices.ContainsFunc(findings(), func(other finding) bool { return other.code == code }) {
				t.Errorf("%s: after %s, which does not exist", d.code, code)
			}
		}
		for _, s := range newDiagnosis(f).Steps {
			want := map[weight]string{broken: "wrong", limit: "limited"}[d.weight]
			if s.Name == d.step && want != "" && s.State != want || s.Name != d.step && s.State == "wrong" {
				t.Errorf("%s: step %q is %s", d.code, s.Name, s.State)
			}
		}
	}
}

// TestDirectIsNotLimited: what could stand in the way does not, where the tunnel goes direct.
func TestDirectIsNotLimited(t *testing.T) {
	f := well()
	f.NAT.Mapping = network.Dependent
	f.Pong.Limits, f.Pong.PeerLimits = []string{limitHard, limitMetered}, []string{limitHard, limitShut, limitNoUDP}
	if all := diagnose(f, steps()); len(all) != 0 {
		t.Errorf("the tunnel is direct, but found is %+v", all)
	}
}

// TestFirstMoment: a tunnel that is relayed as yet needs neither thousands of packets nor a
// port, as far as anybody knows.
func TestFirstMoment(t *testing.T) {
	f := well()
	f.Pong.Path, f.Pong.Limits, f.Pong.PeerLimits = "relay-ws", []string{limitMetered, limitShut}, []string{limitMetered, limitShut}
	if all := diagnose(f, steps()); len(all) != 1 || all[0].Code != "relayed" {
		t.Errorf("found is %+v", all)
	}
}

// TestRelayedPointsAt: who reads that a tunnel is relayed is sent to findings that exist.
func TestRelayedPointsAt(t *testing.T) {
	for _, about := range [][]string{{stepDirect}, steps()} {
		f := well()
		f.Pong.Path = "relay-udp"
		if all := diagnose(f, about); len(all) != 1 || strings.Contains(all[0].Fix, "other findings") || !strings.Contains(all[0].Fix, "netcheck") {
			t.Errorf("found is %+v", all)
		}
		f.Pong.Limits = []string{limitUnasked}
		if all := diagnose(f, about); len(all) != 2 || !strings.Contains(all[0].Fix, "other findings") {
			t.Errorf("with another finding: %+v", all)
		}
	}
}

// TestBrokenFirst: what does not work is said before what could work better.
func TestBrokenFirst(t *testing.T) {
	f := well()
	f.Proxy, f.Pong.Path = "http://proxy:3128", "relay-udp"
	f.ServiceErr = &askError{Code: "upstream", Reason: "refused"}
	var codes []string
	for _, found := range diagnose(f, steps()) {
		codes = append(codes, found.Code)
	}
	if want := []string{"service-down", "relayed", "server-by-proxy"}; !slices.Equal(codes, want) {
		t.Errorf("found is %v, want %v", codes, want)
	}
}

// TestOpenOne names the side that can do something about two symmetric NATs.
func TestOpenOne(t *testing.T) {
	for _, test := range []struct {
		here, there []string
		want        string
	}{
		{nil, nil, "switch PCP"},
		{[]string{limitShut}, nil, "start peerway here without"},
		{nil, []string{limitShut}, "start peerway at home without"},
		{[]string{limitShut}, []string{limitShut}, "start peerway here or at home without"},
	} {
		f := well()
		f.Pong.Path, f.Pong.Limits, f.Pong.PeerLimits = "relay-udp", test.here, test.there
		if got := openOne(f); !strings.HasPrefix(got, test.want) {
			t.Errorf("with %v and %v: %q, want %q…", test.here, test.there, got, test.want)
		}
	}
}

// TestStepsWithoutServer reaches a peer in the local network.
func TestStepsWithoutServer(t *testing.T) {
	f := well()
	f.Hello, f.Probed, f.NAT, f.Running.Signal.Connected = client.ErrUnreachable, false, network.NAT{}, false
	want := map[string]string{stepServer: "wrong", stepUDP: "unknown", stepNAT: "unknown", stepLogin: "unknown"}
	for _, s := range newDiagnosis(f).Steps {
		if state := cmp.Or(want[s.Name], "ok"); s.State != state {
			t.Errorf("step %q is %s, want %s", s.Name, s.State, state)
		}
	}
}

// TestStepsWithoutNetwork says of nothing that it works which was not reached.
func TestStepsWithoutNetwork(t *testing.T) {
	f := well()
	f.Addresses, f.Hello, f.Probed, f.NAT, f.Running.Signal.Connected = nil, client.ErrUnreachable, false, network.NAT{}, false
	f.Pong, f.PongErr = nil, &askError{Code: "no-path", Reason: "nobody"}
	want := map[string]string{stepNetwork: "wrong", stepRunning: "ok"}
	for _, s := range newDiagnosis(f).Steps {
		if state := cmp.Or(want[s.Name], "unknown"); s.State != state {
			t.Errorf("step %q is %s, want %s", s.Name, s.State, state)
		}
	}
}

// TestTelling: each step is told once, as soon as it is known; a NAT that may be no hindrance
// waits for the tunnel.
func TestTelling(t *testing.T) {
	f := well()
	f.NAT.Mapping, f.Pong = network.Dependent, nil
	var out strings.Builder
	tell := telling{out: &out, f: f, silent: func() bool { return false }}
	says := func(last, want string) {
		t.Helper()
		out.Reset()
		if tell.upTo(last); out.String() != want {
			t.Errorf("up to %q it says %q, want %q", last, &out, want)
		}
	}
	says(stepNetwork, "✔ this machine has a network\n")
	says(stepLogin, "✔ the signal server can be reached\n✔ UDP passes\n")
	f.Pong = &pong{Peer: "home", Path: "direct"}
	says(stepDirect, "✔ direct paths are possible\n✔ a peerway runs with this state folder\n✔ it is logged in to the signal server\n"+
		"✔ the peer is online\n✔ the peer answers\n✔ the tunnel goes direct\n")
	f.ServiceErr = &askError{Code: "upstream", Reason: "refused"}
	says(stepService, "✘ the service answers\n")
	says(stepService, "")
}

// TestNoExternalAddress: 0.0.0.0 is what routers say that know of no address to tell.
func TestNoExternalAddress(t *testing.T) {
	for external, want := range map[string]string{"0.0.0.0": "the router has no address of the internet", "192.168.0.2": "its address is 192.168.0.2"} {
		f := well()
		f.Router = portmap.Report{Protocols: []portmap.Protocol{portmap.UPnP}, External: netip.MustParseAddr(external)}
		all := diagnose(f, steps())
		if len(all) != 1 || all[0].Code != "double-nat" || !strings.Contains(all[0].Text, want) || strings.Contains(all[0].Text, "0.0.0.0") {
			t.Errorf("of a router at %s, found is %+v, want only that %s", external, all, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for want, change := range map[string]func(*facts){
		"good": func(*facts) {},
		"easy: the router": func(f *facts) {
			f.NAT.Mapping, f.Router.Reached = network.Dependent, true
		},
		"hard: dir": func(f *facts) { // the router opens a port that leads nowhere
			f.NAT.Mapping, f.Router.External = network.Dependent, netip.MustParseAddr("203.0.113.7")
			f.Router.Opened, f.Tried = netip.AddrPortFrom(f.Router.External, 40000), true
		},
		"hard: direct": func(f *facts) { // the router speaks, and refuses
			f.NAT.Mapping, f.Router.Protocols = network.Dependent, []portmap.Protocol{portmap.NATPMP}
		},
		"good: direct": func(f *facts) {
			f.Router = portmap.Report{Protocols: []portmap.Protocol{portmap.PCP}, External: netip.MustParseAddr("10.0.0.2")}
		},
		"open":  func(f *facts) { f.NAT.Mapping, f.NAT.Filtering = network.None, network.None },
		"easy":  func(f *facts) { f.NAT.Filtering = network.Endpoint },
		"hard":  func(f *facts) { f.NAT.Mapping = network.Dependent },
		"UDP p": func(f *facts) { f.NAT.Mapping = network.Unknown },
		"no U":  func(f *facts) { f.NAT = network.NAT{} },
		"the s": func(f *facts) { f.Hello = client.ErrUnreachable },
		"there": func(f *facts) { f.Hello = client.ErrNotSignal },
		"unkno": func(f *facts) { f.NAT, f.Probed = network.NAT{}, false },
		"IPv6 ": func(f *facts) {
			f.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::2")}
			f.NAT = network.NAT{Mapped: netip.MustParseAddrPort("[2001:db8::2]:5000"), Mapping: network.None, Filtering: network.Dependent}
		},
		"UDP passes with IPv6": func(f *facts) { f.NAT.Mapped = netip.MustParseAddrPort("[2001:db8::2]:5000") },
		"no si":                func(f *facts) { f.Server = "" },
	} {
		f := well()
		change(f)
		if got := verdict(f); got[:len(want)] != want {
			t.Errorf("verdict is %q, want %s…", got, want)
		}
	}
}

// TestNoNetworkIsNeeded: where everything is on this machine, or works, no network is missing,
// and what does not work is not hidden by that.
func TestNoNetworkIsNeeded(t *testing.T) {
	refused := fmt.Errorf("%w: refused", client.ErrUnreachable)
	for name, test := range map[string]struct {
		url   string
		hello error
		up    bool
		want  string
	}{
		"a server here":           {"127.0.0.1:7443", nil, false, ""},
		"one by name":             {"localhost:7443", nil, false, ""},
		"a broken one here":       {"[::1]:7443", refused, false, "server-unreachable"},
		"one that is reached":     {"signal.internal:7443", nil, true, ""},
		"one beyond this machine": {"203.0.113.10:7443", refused, false, "no-network"},
	} {
		f := well()
		f.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		f.URL.Addr, f.Server, f.Hello = test.url, test.url, test.hello
		f.Running.Signal.Connected = test.up
		got := ""
		for _, found := range atLeast(broken, diagnose(f, []string{stepNetwork, stepServer})) {
			got += found.Code
		}
		if got != test.want {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}
