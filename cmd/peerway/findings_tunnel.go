package main

import (
	"fmt"
	"slices"

	"peerway/tunnel"
)

// Names of [tunnel.Limits], as status and ping have them.
const (
	limitMetered = "metered"
	limitShut    = "no-port-mapping"
	limitHard    = "nat-symmetric"
	limitNoUDP   = "no-udp"
	limitUnasked = "no-stun"
)

// limitNames returns the names of l.
func limitNames(l tunnel.Limits) (names []string) {
	for _, known := range []struct {
		limit tunnel.Limits
		name  string
	}{
		{tunnel.NoUDP, limitNoUDP}, {tunnel.Unasked, limitUnasked}, {tunnel.HardNAT, limitHard},
		{tunnel.Metered, limitMetered}, {tunnel.KeepsOut, limitShut},
	} {
		if l&known.limit != 0 {
			names = append(names, known.name)
		}
	}
	return names
}

// limited reports whether a tunnel is relayed and its ends have some limit: this one, and
// the peer.
func (f *facts) limited(name string) (here, there bool) {
	return f.relayed() && slices.Contains(f.Pong.Limits, name), f.relayed() && slices.Contains(f.Pong.PeerLimits, name)
}

// findingsOfTunnel say whether the peer answers, and why there is no direct path.
func findingsOfTunnel() []finding {
	noUDP := []string{"no-udp", "peer-no-udp"}
	return slices.Concat(
		[]finding{{
			code: "no-answer", step: stepTunnel, weight: broken,
			after: append(noServer(), "not-running", "not-logged-in", "peer-unknown", "peer-elsewhere", "peer-offline", "peer-refuses"),
			found: func(f *facts) bool { return f.PongErr != nil },
			text:  func(f *facts) string { return f.PongErr.Reason },
			fix:   func(f *facts) string { return f.PongErr.Fix },
		}, {
			code: "relayed", step: stepDirect, weight: limit, after: []string{"no-answer"},
			found: (*facts).relayed,
			text:  func(f *facts) string { return f.Pong.because(f.Peer) },
			fix: func(f *facts) string {
				if f.obstructed() {
					return "it works nevertheless; the other findings say what stands in the way"
				}
				return "it works nevertheless; if it stays so, peerway netcheck at both ends says what stands in the way"
			},
		}},
		bySide(finding{code: "no-udp", weight: limit, after: []string{"udp-blocked"}}, limitNoUDP,
			"UDP does not pass %s: all goes over the websocket of the signal server, and is slower",
			"let UDP out in the firewall of the network %s, at least to the port of the signal server"),
		bySide(finding{code: "no-stun", weight: limit, after: noUDP}, limitUnasked,
			"the signal server is behind a proxy %s, so that nobody could be asked what UDP does",
			"let UDP out in the firewall of the network %s, and the name of the signal server be looked up"),
		[]finding{{
			code: "nats-symmetric", step: stepDirect, weight: limit, after: noUDP,
			found: func(f *facts) bool { here, there := f.limited(limitHard); return here && there },
			text:  say("the NATs of both sides give every destination another port: neither can know where to send to"),
			fix:   openOne,
		}},
		bySide(finding{code: "metered", weight: limit, found: (*facts).narrow, after: append(noUDP, "nats-symmetric")}, limitMetered,
			"--metered %s leaves out the thousands of small packets by which some NATs are passed",
			"start peerway %s without --metered, if the line can spare 200 kB"),
		bySide(finding{code: "no-port-mapping", weight: limit, found: (*facts).narrow, after: noUDP}, limitShut,
			"--no-port-mapping %s: the router is not asked to let packets of the other side in",
			"start peerway %s without --no-port-mapping"),
		bySide(finding{code: "nat-passing", weight: remark, after: append(noUDP, "nats-symmetric", "metered", "peer-metered")}, limitHard,
			"the NAT %s gives every destination another port: it takes some seconds to pass, and not every time",
			""),
	)
}

// obstructed reports whether a finding says what stands in the way of a direct path.
func (f *facts) obstructed() bool {
	return slices.ContainsFunc(findingsOfTunnel(), func(d finding) bool {
		return d.step == stepDirect && d.code != "relayed" && d.found(f)
	})
}

// narrow reports whether a direct path is not to be had easily: one NAT is hard, or attempts
// have failed. Each tunnel is relayed in its first moment.
func (f *facts) narrow() bool {
	here, there := f.limited(limitHard)
	return here || there || f.Pong != nil && f.Pong.Why+f.Pong.PeerWhy != ""
}

// bySide returns two findings about a tunnel that is relayed: d for this side, and with
// another code for the peer's. In text and fix %s is the place. What d says of when it is
// found, if anything, must be so too.
func bySide(d finding, limit, text, fix string) []finding {
	put := func(format string, peer bool) func(*facts) string {
		if format == "" {
			return say("")
		}
		return func(f *facts) string {
			if peer {
				return fmt.Sprintf(format, "at "+f.Peer)
			}
			return fmt.Sprintf(format, "here")
		}
	}
	also := d.found
	if also == nil {
		also = func(*facts) bool { return true }
	}
	d.step = stepDirect
	d.found = func(f *facts) bool { here, _ := f.limited(limit); return here && also(f) }
	d.text, d.fix = put(text, false), put(fix, false)
	p := d
	p.code = "peer-" + d.code
	p.found = func(f *facts) bool { _, there := f.limited(limit); return there && also(f) }
	p.text, p.fix = put(text, true), put(fix, true)
	return []finding{d, p}
}

// openOne says what to do about two NATs of which one would have to open a port.
func openOne(f *facts) string {
	where := ""
	switch here, there := f.limited(limitShut); {
	case here && there:
		where = "here or at " + f.Peer
	case here:
		where = "here"
	case there:
		where = "at " + f.Peer
	default:
		return "switch PCP, NAT-PMP or UPnP on in the router of one side, or its NAT to \"endpoint independent\"; or use IPv6 on both"
	}
	return "start peerway " + where + " without --no-port-mapping: one port that a router opens is enough"
}

// findingsOfRelays say why a tunnel is on the websocket and not on a relay on UDP.
func findingsOfRelays() []finding {
	const slower = ": all goes over the websocket of the signal server, and is slower"
	about := func(hitch tunnel.Hitch, weight weight, text, fix func(*facts) string) finding {
		return finding{
			code: string(hitch), step: stepDirect, weight: weight, after: []string{"udp-blocked", "no-udp", "peer-no-udp"},
			found: func(f *facts) bool { return f.relayed() && f.Pong.Hitch == string(hitch) },
			text:  text, fix: fix,
		}
	}
	return []finding{
		about(tunnel.NoRelay, limit, say("the signal server has no relay on UDP to offer"+slower),
			say("peerway status on its machine says how its relays are")),
		about(tunnel.RelaysSilent, limit, say("no relay on UDP answers here"+slower),
			say("peerway status on the machine of the signal server says whether they are well; if they are, let UDP out in the firewall of this network, to their ports")),
		about(tunnel.RelaysFull, limit, say("the relays on UDP take no more tunnels"+slower),
			say("have another one: peerway signal --relay-only")),
		about(tunnel.RelaysBlocked, limit, func(f *facts) string {
			return fmt.Sprintf("a relay on UDP answers here, but nothing comes from %s through it%s", f.Peer, slower)
		}, func(f *facts) string {
			return fmt.Sprintf("peerway netcheck at %s says whether UDP passes there; if it does, look after the line and the firewall of the relay", f.Peer)
		}),
		about(tunnel.RelaysWorse, remark, say("the relays on UDP are so far away, or lose so much, that the websocket of the signal server is better"), say("")),
	}
}
