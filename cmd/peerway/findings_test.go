package main

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"testing"

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
	cases := map[string]func(*facts){
		"no-network": func(f *facts) {
			f.Addresses = nil
			f.TCP = errors.New("no route")
			f.Probed = false
			f.Running.Signal.Connected = false
		},
		"no-server": func(f *facts) { f.Server = ""; f.Probed = false; f.NAT = network.NAT{} },
		"server-unreachable": func(f *facts) {
			f.TCP = errors.New("refused")
			f.Probed = false
			f.NAT = network.NAT{}
			f.Running.Signal.Connected = false
			f.Pong, f.PongErr = nil, offline
		},
		"server-by-proxy":       func(f *facts) { f.Proxy = "http://proxy:3128" },
		"udp-blocked":           func(f *facts) { f.NAT = network.NAT{} },
		"nat-symmetric":         func(f *facts) { f.NAT.Mapping = network.Dependent },
		"nat-symmetric-regular": func(f *facts) { f.NAT.Mapping, f.NAT.Delta = network.Dependent, 2 },
		"double-nat": func(f *facts) {
			f.Router = portmap.Report{Protocols: []portmap.Protocol{portmap.UPnP}, External: netip.MustParseAddr("192.168.0.2")}
		},
		"nat-unknown":     func(f *facts) { f.NAT.Mapping = network.Unknown },
		"not-running":     func(f *facts) { f.Running, f.Pong = nil, nil },
		"not-logged-in":   func(f *facts) { f.Running.Signal.Connected = false; f.Pong, f.PongErr = nil, offline },
		"peer-unknown":    func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "unknown-name", Reason: "who?"} },
		"peer-offline":    func(f *facts) { f.Pong, f.PongErr = nil, offline },
		"peer-refuses":    func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "not-allowed", Reason: "no"} },
		"no-answer":       func(f *facts) { f.Pong, f.PongErr = nil, &askError{Code: "no-path", Reason: "silence", Fix: "wait"} },
		"relayed":         func(f *facts) { f.Pong.Path, f.Pong.Why = "relay-udp", "the NAT is hard" },
		"service-unknown": func(f *facts) { f.ServiceErr = &askError{Code: "unknown-name", Reason: "no such service"} },
		"service-down":    func(f *facts) { f.ServiceErr = &askError{Code: "upstream", Reason: "refused", Fix: "start it"} },
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
		all := diagnose(f, steps())
		if len(all) != 1 || all[0].Code != d.code || all[0].Text == "" || all[0].Fix == "" != d.note && d.code != "nat-unknown" && d.code != "double-nat" {
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
			if want := s.Name == d.step && !d.note; (s.State == "wrong") != want {
				t.Errorf("%s: step %q is %s", d.code, s.Name, s.State)
			}
		}
	}
}

// TestStepsWithoutServer reaches a peer in the local network.
func TestStepsWithoutServer(t *testing.T) {
	f := well()
	f.TCP, f.Probed, f.NAT, f.Running.Signal.Connected = errors.New("refused"), false, network.NAT{}, false
	want := map[string]string{stepServer: "wrong", stepUDP: "unknown", stepNAT: "unknown", stepLogin: "unknown"}
	for _, s := range newDiagnosis(f).Steps {
		if state := cmp.Or(want[s.Name], "ok"); s.State != state {
			t.Errorf("step %q is %s, want %s", s.Name, s.State, state)
		}
	}
}

func TestVerdict(t *testing.T) {
	for want, change := range map[string]func(*facts){
		"good": func(*facts) {},
		"easy: the router": func(f *facts) {
			f.NAT.Mapping, f.Router.External = network.Dependent, netip.MustParseAddr("203.0.113.7")
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
		"the s": func(f *facts) { f.TCP = errors.New("refused") },
		"no si": func(f *facts) { f.Server = "" },
	} {
		f := well()
		change(f)
		if got := verdict(f); got[:len(want)] != want {
			t.Errorf("verdict is %q, want %s…", got, want)
		}
	}
}
