//go:build linux

package natlab

import (
	"fmt"
	"net/netip"
	"strings"
)

// apply gives the box its rules, all at once.
func (s *Site) apply() {
	s.lab.t.Helper()
	cmd := (&Host{namespace: s.box}).Command(s.lab.t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("flush ruleset\n" + s.translation() + s.filter("ip") + s.filter("ip6") + s.daemon)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.lab.t.Fatalf("natlab: rules of %s: %v: %s", s.box, err, out)
	}
}

// translation returns how the box translates IPv4.
func (s *Site) translation() string {
	masquerade, forwarded := "masquerade", ""
	switch s.kind {
	case FullCone:
		if s.LAN.addr.IsValid() {
			forwarded = "iifname wan0 meta l4proto udp dnat to " + s.LAN.addr.String()
		}
	case Symmetric:
		masquerade = "masquerade fully-random"
	case Sequential:
		masquerade = "meta l4proto udp masquerade to :" + sequence(s.step) + "\noifname wan0 masquerade"
	}
	return fmt.Sprintf(`table ip translation {
	chain outgoing {
		type nat hook postrouting priority srcnat
		oifname wan0 %s
	}
	chain incoming {
		type nat hook prerouting priority dstnat
		%s
		%s
	}
}
`, masquerade, s.ports, forwarded)
}

// sequence returns an expression whose value is the port of the next translation.
func sequence(step int) string {
	const ports, middle = 8192, 32768 // about as many as a site lives to see
	first := middle - ports/2*step
	var elements strings.Builder
	for i := range ports {
		fmt.Fprintf(&elements, "%d : %d, ", i, first+i*step)
	}
	return fmt.Sprintf("numgen inc mod %d map { %s }", ports, elements.String())
}

// filter returns the packet filter of the box for a protocol, ip or ip6. Whatever the
// public side sends unasked to the box itself is dropped: answered, or merely accepted,
// it would occupy the port in the connection table, and a host behind the box that
// sends from that port would be given another one: a port-restricted box would
// turn into a symmetric one.
func (s *Site) filter(protocol string) string {
	blocked, open, neighbours := "", "", ""
	if s.kind == UDPBlocked {
		blocked = "iifname wan0 meta l4proto udp drop\noifname wan0 meta l4proto udp drop"
	}
	// In the ICMP message is the packet it is about; its byte 9 says its protocol.
	tooLarge := "icmp type destination-unreachable icmp code frag-needed @th,136,8 17 drop"
	if protocol == "ip6" {
		if s.kind == FullCone {
			open = "iifname wan0 meta l4proto udp accept"
		}
		neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
		tooLarge = "icmpv6 type packet-too-big @th,112,8 17 drop" // its byte 6
	}
	if !s.silent {
		tooLarge = ""
	}
	return fmt.Sprintf(`table %s box {
	chain itself {
		type filter hook input priority filter
		%s
		iifname wan0 ct state established,related accept
		iifname wan0 drop
	}
	chain told {
		type filter hook output priority filter
		%s
	}
	chain through {
		type filter hook forward priority filter
		%s
		%s
		%s
		iifname wan0 ct state established,related accept
		iifname wan0 ct status dnat accept
		%s
		iifname wan0 drop
	}
}
`, protocol, neighbours, tooLarge, s.clamp, blocked, s.cut(protocol), open)
}

// Drop makes the box drop, silently and in both directions, the UDP packets
// between its hosts and the given other sites; without any, all UDP packets
// but those of the signal host.
func (s *Site) Drop(others ...*Site) {
	s.lab.t.Helper()
	s.cut = func(protocol string) string {
		if len(others) == 0 {
			return exceptWith(protocol, "meta l4proto udp", s.lab.Signal)
		}
		var rules strings.Builder
		for _, other := range others {
			for _, direction := range []string{"saddr", "daddr"} {
				rules.WriteString(other.dropped(protocol, direction))
			}
		}
		return rules.String()
	}
	s.apply()
}

// DropTo makes the box drop, silently, the UDP packets of its hosts to another site;
// what comes from there passes.
func (s *Site) DropTo(other *Site) {
	s.lab.t.Helper()
	s.cut = func(protocol string) string { return other.dropped(protocol, "daddr") }
	s.apply()
}

// DropSome makes the box drop, silently, those UDP packets from a public address to its
// hosts that meet a condition of nftables, like "udp length > 300". Behind a wire each
// packet is looked at by itself.
func (s *Site) DropSome(from netip.Addr, condition string) {
	s.lab.t.Helper()
	s.cut = func(protocol string) string {
		if protocol == "ip" != from.Is4() {
			return ""
		}
		return fmt.Sprintf("meta l4proto udp %s saddr %v %s drop\n", protocol, from, condition)
	}
	s.apply()
}

// OnlyTo makes the box drop, silently and in both directions, all packets but those
// between its hosts and one public host, as where there is a proxy and nothing else.
func (s *Site) OnlyTo(proxy *Host) {
	s.lab.t.Helper()
	s.cut = func(protocol string) string { return exceptWith(protocol, "", proxy) }
	s.apply()
}

// Heal ends what Drop, DropTo, DropSome and OnlyTo began.
func (s *Site) Heal() {
	s.lab.t.Helper()
	s.cut = uncut
	s.apply()
}

// uncut drops nothing.
func uncut(string) string { return "" }

// dropped returns the rule that drops UDP packets from or to a site.
func (s *Site) dropped(protocol, direction string) string {
	switch {
	case protocol == "ip" && s.public.IsValid():
		return fmt.Sprintf("meta l4proto udp ip %s %v drop\n", direction, s.public)
	case protocol == "ip6" && s.inner6.IsValid():
		return fmt.Sprintf("meta l4proto udp ip6 %s %v drop\n", direction, s.inner6)
	}
	return ""
}

// exceptWith returns the rule that drops packets of a kind but for those of one host.
func exceptWith(protocol, kind string, host *Host) string {
	addr := host.addr
	if protocol == "ip6" {
		addr = host.addr6
	}
	return fmt.Sprintf("%s %s saddr != %v %s daddr != %v drop\n", kind, protocol, addr, protocol, addr)
}
