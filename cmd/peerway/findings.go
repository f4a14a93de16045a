package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"

	"peerway/signal/client"
	"peerway/tunnel/network"
)

// A finding is one thing that can be wrong, or worth knowing. The codes are stable:
// programs may rely on them.
type finding struct {
	code   string
	step   string // of the way from this machine to a real server; see steps
	weight weight
	found  func(*facts) bool
	text   func(*facts) string
	fix    func(*facts) string
	after  []string // if one of these was found, it explains this one too
}

// A weight says how much a finding matters.
type weight string

const (
	broken weight = "broken" // a step does not work
	limit  weight = "limit"  // it works, but less well than it could
	remark weight = "remark" // nothing is wrong
)

// The steps of the way, in order.
const (
	stepNetwork = "this machine has a network"
	stepServer  = "the signal server can be reached"
	stepUDP     = "UDP passes"
	stepNAT     = "direct paths are possible"
	stepRunning = "a peerway runs with this state folder"
	stepLogin   = "it is logged in to the signal server"
	stepPeer    = "the peer is online"
	stepTunnel  = "the peer answers"
	stepDirect  = "the tunnel goes direct"
	stepService = "the service answers"
)

func steps() []string {
	return []string{stepNetwork, stepServer, stepUDP, stepNAT, stepRunning, stepLogin, stepPeer, stepTunnel, stepDirect, stepService}
}

// say is a text without facts.
func say(text string) func(*facts) string { return func(*facts) string { return text } }

// noServer are the codes that explain what needs the signal server.
func noServer() []string {
	return []string{"no-network", "no-server", "server-unreachable", "server-unknown", "server-other-version", "server-silent", "server-not-signal", "server-other-key"}
}

// findings is the table of all that can be found, in the order of the way.
func findings() []finding {
	return slices.Concat(findingsOfNetwork(), findingsOfServer(), findingsOfNAT(), findingsOfPeer(), findingsOfTunnel(), findingsOfRelays(), findingsOfService())
}

func findingsOfNetwork() []finding {
	return []finding{
		{
			code: "no-network", step: stepNetwork, weight: broken,
			found: func(f *facts) bool { return f.needsNetwork() && !slices.ContainsFunc(f.Addresses, isOfNetwork) },
			text:  say("no interface of this machine has an address"),
			fix:   say("connect it to a network"),
		}, {
			code: "no-server", step: stepServer, weight: broken,
			found: func(f *facts) bool { return f.Server == "" },
			text:  say("no signal server is known here"),
			fix:   say("pair first, or say which one to ask with --signal HOST:PORT"),
		},
	}
}

func findingsOfServer() []finding {
	return []finding{
		{
			code: "server-unreachable", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: func(f *facts) bool {
				return errors.Is(f.Hello, client.ErrUnreachable) && !f.noName() && !f.otherVersion()
			},
			text: func(f *facts) string { return f.Hello.Error() },
			fix:  say("check that it runs, its address, and the firewalls between; HTTPS_PROXY is honoured"),
		}, {
			code: "server-unknown", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: (*facts).noName,
			text: func(f *facts) string {
				e, _ := errors.AsType[*net.DNSError](f.Hello)
				return fmt.Sprintf("the name of the signal server, %s, cannot be looked up: %s", e.Name, e.Err)
			},
			fix: say("check the name for a mistake, and that this machine has a DNS server (on Linux, in /etc/resolv.conf)"),
		}, {
			code: "server-other-version", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: (*facts).otherVersion,
			text: func(f *facts) string {
				return fmt.Sprintf("this machine has IPv6 only, and the signal server %s has IPv4 only", f.Server)
			},
			fix: say("have the signal server listen on IPv6 too, with a name that has addresses of both; or use a network with NAT64"),
		}, {
			code: "server-silent", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: func(f *facts) bool { return errors.Is(f.Hello, client.ErrSilent) },
			text:  func(f *facts) string { return f.Server + " takes connections, but does not answer" },
			fix:   say("look at the log of the signal server: its machine may have no files or memory left; a proxy or firewall in between may take connections in its place"),
		}, {
			code: "server-not-signal", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: func(f *facts) bool { return errors.Is(f.Hello, client.ErrNotSignal) },
			text:  func(f *facts) string { return fmt.Sprintf("%s: %v", f.Server, f.Hello) },
			fix:   say("check address and port: peerway signal prints them; a proxy or firewall in between may answer in its place"),
		}, {
			code: "server-other-key", step: stepServer, weight: broken, after: []string{"no-network", "no-server"},
			found: func(f *facts) bool { return isRefused(f.Hello) },
			text: func(f *facts) string {
				if f.URL.Public {
					return f.Hello.Error()
				}
				return f.Server + " has another key than the one that is known here"
			},
			fix: say("if it was set up anew, use the URL that it prints now, or a new code; else somebody is in its place"),
		}, {
			code: "server-by-proxy", step: stepServer, weight: remark, after: []string{"no-server"},
			found: func(f *facts) bool { return f.Proxy != "" },
			text:  func(f *facts) string { return "it is reached through the proxy " + f.Proxy },
			fix:   say(""),
		},
	}
}

func findingsOfNAT() []finding {
	return []finding{
		{
			code: "udp-blocked", step: stepUDP, weight: limit, after: noServer(),
			found: func(f *facts) bool { return f.Probed && !f.NAT.Mapped.IsValid() },
			text:  say("no UDP packet comes back from the signal server: what leaves the local network goes over its websocket, and is slower"),
			fix:   say("let UDP out in the firewall of this network, at least to the port of the signal server; and in at the server's"),
		}, {
			code: "udp-unasked", step: stepUDP, weight: limit, after: append(noServer(), "udp-blocked"),
			found: func(f *facts) bool { return f.Server != "" && f.Hello == nil && !f.Probed },
			text:  say("whether UDP passes cannot be told: there is no way to ask the signal server but the proxy, which carries none"),
			fix:   say("let the name of the signal server be looked up here, and UDP out, at least to its port"),
		}, {
			code: "nat-symmetric", step: stepNAT, weight: limit, after: []string{"udp-blocked"},
			found: func(f *facts) bool {
				return f.NAT.Mapping == network.Dependent && f.NAT.Delta == 0 && !f.opens() && !f.direct()
			},
			text: say("the NAT gives every destination another port: peers behind another one like it are reached over the relay only"),
			fix:  say("in the router, switch PCP, NAT-PMP or UPnP on, or the NAT to \"full cone\" or \"endpoint independent\""),
		}, {
			code: "nat-symmetric-regular", step: stepNAT, weight: remark, after: []string{"udp-blocked"},
			found: func(f *facts) bool { return f.NAT.Mapping == network.Dependent && f.NAT.Delta != 0 },
			text: func(f *facts) string {
				return fmt.Sprintf("the NAT gives every destination another port, %+d from the last", f.NAT.Delta)
			},
			fix: say(""),
		}, {
			code: "double-nat", step: stepNAT, weight: remark, after: []string{"udp-blocked"},
			found: func(f *facts) bool { return f.Router.DoubleNAT() },
			text: func(f *facts) string {
				if f.Router.External.IsUnspecified() {
					return "the router has no address of the internet, or does not tell it: most likely it is behind a NAT itself"
				}
				return fmt.Sprintf("the router opens ports, but is behind a NAT itself: its address is %v", f.Router.External)
			},
			fix: say("where the outer box is yours, make it a bridge; providers may give a public address on request"),
		}, {
			code: "nat-unknown", step: stepNAT, weight: remark, after: []string{"udp-blocked"},
			found: func(f *facts) bool { return f.NAT.Mapped.IsValid() && f.NAT.Mapping == network.Unknown },
			text:  say("what kind of NAT there is cannot be told: the signal server does not answer on its second UDP port"),
			fix:   say("open the UDP port after its own in the server's firewall"),
		}, {
			code: "port-not-open", step: stepNAT, weight: remark, after: []string{"udp-blocked", "double-nat", "nat-unknown"},
			found: (*facts).opensNone,
			text: func(f *facts) string {
				if !f.Router.Opened.IsValid() {
					return fmt.Sprintf("the router speaks %s, but opens no port", f.Router.Protocols[0])
				}
				return fmt.Sprintf("the router says that it has opened the port %v, but nothing comes in by it", f.Router.Opened)
			},
			fix: func(f *facts) string {
				if !f.Router.Opened.IsValid() {
					return "look in the router whether this machine may open ports"
				}
				return "look in the firewall here whether UDP may come in, and whether there is another NAT outside"
			},
		},
	}
}

func findingsOfPeer() []finding {
	return []finding{
		{
			code: "not-running", step: stepRunning, weight: broken,
			found: func(f *facts) bool { return f.Running == nil },
			text:  say("none does"),
			fix:   say("start peerway connect, expose or up, or name its folder with --state"),
		}, {
			code: "not-logged-in", step: stepLogin, weight: broken, after: append(noServer(), "not-running"),
			found: func(f *facts) bool { return f.Running != nil && !f.Running.Signal.Connected },
			text: func(f *facts) string {
				return "it is not, though the server can be reached; it is " + f.Running.Signal.trouble()
			},
			fix: say("its log says why; the server may have been set up anew, then use the URL that it prints now, or a new code"),
		}, {
			code: "peer-unknown", step: stepPeer, weight: broken, after: []string{"not-running"},
			found: func(f *facts) bool { return f.Peer != "" && f.PongErr != nil && f.PongErr.Code == "unknown-name" },
			text:  func(f *facts) string { return fmt.Sprintf("no peer is called %q here", f.Peer) },
			fix:   say("peerway ls shows those that are known; pair with it by a code of peerway expose"),
		}, {
			code: "peer-elsewhere", step: stepPeer, weight: broken, after: append(noServer(), "not-running", "not-logged-in"),
			found: func(f *facts) bool { return f.PongErr != nil && f.PongErr.Code == "peer-offline" && f.pairedAt() != "" },
			text:  func(f *facts) string { reason, _ := offlineWords(f.Peer, f.pairedAt()); return reason },
			fix:   func(f *facts) string { _, fix := offlineWords(f.Peer, f.pairedAt()); return fix },
		}, {
			code: "peer-offline", step: stepPeer, weight: broken, after: append(noServer(), "not-running", "not-logged-in", "peer-elsewhere"),
			found: func(f *facts) bool { return f.PongErr != nil && f.PongErr.Code == "peer-offline" },
			text:  func(f *facts) string { reason, _ := offlineWords(f.Peer, ""); return reason },
			fix:   func(f *facts) string { _, fix := offlineWords(f.Peer, ""); return fix },
		}, {
			code: "peer-refuses", step: stepPeer, weight: broken, after: []string{"not-running"},
			found: func(f *facts) bool { return f.PongErr != nil && f.PongErr.Code == "not-allowed" },
			text:  func(f *facts) string { return f.Peer + " does not know this peer any more" },
			fix:   say("pair again, with a fresh code of peerway expose"),
		},
	}
}

func findingsOfService() []finding {
	return []finding{
		{
			code: "service-unknown", step: stepService, weight: broken, after: []string{"no-answer"},
			found: func(f *facts) bool { return f.ServiceErr != nil && f.ServiceErr.Code == "unknown-name" },
			text:  func(f *facts) string { return fmt.Sprintf("%s exposes no service %q", f.Peer, f.Service) },
			fix:   say("peerway ls shows those that it exposes"),
		}, {
			code: "service-down", step: stepService, weight: broken, after: []string{"no-answer", "service-unknown"},
			found: func(f *facts) bool { return f.ServiceErr != nil },
			text:  func(f *facts) string { return f.ServiceErr.Reason },
			fix: func(f *facts) string {
				return cmp.Or(f.ServiceErr.Fix, fmt.Sprintf("check the server, and the URL of %s that %s exposes", f.Service, f.Peer))
			},
		},
	}
}

// A found is a finding as it is told.
type found struct {
	Code   string `json:"code"`
	Step   string `json:"step"`
	Weight weight `json:"weight"`
	Note   bool   `json:"note,omitempty"` // it is not broken
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

// diagnose returns what is found about some steps, but for what something else explains: what
// is broken first, and else in the order of the way.
func diagnose(f *facts, about []string) []found {
	all := []found{}
	known := make(map[string]bool)
	for _, d := range findings() {
		if !slices.Contains(about, d.step) {
			continue
		}
		explained := slices.ContainsFunc(d.after, func(code string) bool { return known[code] })
		if explained {
			known[d.code] = d.weight != remark // and what depends on it is explained as well
			continue
		}
		if !d.found(f) {
			continue
		}
		known[d.code] = true
		all = append(all, found{Code: d.code, Step: d.step, Weight: d.weight, Note: d.weight != broken, Text: d.text(f), Fix: d.fix(f)})
	}
	ranks := []weight{broken, limit, remark}
	slices.SortStableFunc(all, func(a, b found) int { return slices.Index(ranks, a.Weight) - slices.Index(ranks, b.Weight) })
	return all
}

// atLeast returns those that matter so much, or more.
func atLeast(least weight, all []found) []found {
	return slices.DeleteFunc(slices.Clone(all), func(f found) bool {
		return f.Weight != broken && f.Weight != least
	})
}
