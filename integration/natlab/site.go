//go:build linux

package natlab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// A Kind is the way in which a site translates addresses.
type Kind uint8

const (
	// FullCone keeps one public port per local port and lets anybody send to it.
	FullCone Kind = iota
	// PortRestricted keeps one public port per local port, and lets in only
	// those to whom something was sent from it, address and port.
	PortRestricted
	// Symmetric takes a new random public port for every destination.
	Symmetric
	// UDPBlocked lets no UDP through at all.
	UDPBlocked
)

// Kinds returns all of them.
func Kinds() []Kind { return []Kind{FullCone, PortRestricted, Symmetric, UDPBlocked} }

// String returns a short name.
func (k Kind) String() string {
	return [...]string{"full-cone", "port-restricted", "symmetric", "udp-blocked"}[k]
}

// SiteConfig says how to build a site.
type SiteConfig struct {
	Kind Kind
	Link *Link // joins the site to the public network by a Wire; nil is a cable without delay
}

// A Site is a box that translates addresses, with hosts behind it.
type Site struct {
	// LAN is the host behind the box, to which a full cone forwards. Its
	// address is 192.168.N.2.
	LAN *Host

	lab     *Lab
	box     string // namespace of the box
	public  netip.Addr
	number  int
	hosts   int
	wire    *Wire
	kind    Kind
	cut     string // rules that drop
	clamp   string // the rule that tells TCP of the MTU
	silence string // the rule that tells nobody else
	ports   string // rules that forward TCP ports
}

// Site adds a site with one host to the lab.
func (l *Lab) Site(cfg SiteConfig) *Site {
	l.t.Helper()
	s := &Site{lab: l, number: l.sites, kind: cfg.Kind}
	l.sites++
	s.box = l.namespace(fmt.Sprintf("box%d", s.number))
	s.public = netip.AddrFrom4([4]byte{203, 0, 113, byte(firstSite + s.number)})
	if cfg.Link == nil {
		l.plug(s.box, "wan0", s.public)
	} else {
		s.wire = l.wire(s.box, "wan0", s.public, *cfg.Link)
	}
	l.ip(s.box,
		"link add name lan0 type bridge forward_delay 0 stp_state 0",
		"addr add "+s.local(1).String()+"/24 dev lan0",
		"link set lan0 up",
		// The addresses of other sites' inner networks lead nowhere, silently, as
		// at a provider.
		"route add blackhole 192.168.0.0/16")
	l.set(s.box, "ipv4/ip_forward", "1")
	l.set(s.box, "bridge/bridge-nf-call-iptables", "0")
	s.LAN = s.Host()
	s.apply()
	return s
}

// Host adds one more host behind the box.
func (s *Site) Host() *Host {
	s.lab.t.Helper()
	h := &Host{lab: s.lab, namespace: s.lab.namespace(fmt.Sprintf("lan%d.%d", s.number, s.hosts))}
	s.plug(h)
	return h
}

// Move unplugs a host from where it is and plugs it in behind the box: its device is
// another one, and so are its address and its default route.
func (s *Site) Move(h *Host) {
	s.lab.t.Helper()
	s.lab.ip(h.namespace, "link delete eth0")
	s.plug(h)
}

// plug connects a host to the box, and gives it an address.
func (s *Site) plug(h *Host) {
	s.lab.t.Helper()
	h.addr = s.local(2 + s.hosts)
	port := fmt.Sprintf("port%d", s.hosts)
	s.hosts++
	s.lab.ip(s.box,
		"link add name "+port+" type veth peer name eth0 netns "+h.namespace,
		"link set "+port+" master lan0 up")
	s.lab.ip(h.namespace,
		"addr add "+h.addr.String()+"/24 dev eth0",
		"link set eth0 up",
		"route add default via "+s.local(1).String())
}

// Renumber gives the site another public address, as providers do: all that is under
// way has to find its way anew.
func (s *Site) Renumber() {
	s.lab.t.Helper()
	old := s.public
	s.public = s.public.Next()
	for range 50 { // half of the addresses of sites are for this
		s.public = s.public.Next()
	}
	s.lab.ip(s.box,
		"addr del "+old.String()+"/24 dev wan0",
		"addr add "+s.public.String()+"/24 dev wan0")
	s.forget()
}

// forget makes the box forget all translations made so far.
func (s *Site) forget() {
	s.lab.t.Helper()
	err := inside(s.box, func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		s.lab.t.Fatalf("natlab: forget translations: %v", err)
	}
}

// local returns an address of the inner network.
func (s *Site) local(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte(1 + s.number), byte(host)})
}

// Public returns the address of the site in the public network.
func (s *Site) Public() netip.Addr { return s.public }

// Wire returns the wire that joins the site to the public network, or nil if it
// was built without.
func (s *Site) Wire() *Wire { return s.wire }

// SetKind changes how the site translates, and forgets all translations made
// so far: also what is under way gets new ports.
func (s *Site) SetKind(kind Kind) {
	s.lab.t.Helper()
	s.kind = kind
	s.apply()
	s.forget()
}

// Drop makes the box drop, silently and in both directions, the UDP packets
// between its hosts and the given other sites; without any, all UDP packets
// but those of the signal host.
func (s *Site) Drop(others ...*Site) {
	s.lab.t.Helper()
	var rules strings.Builder
	for _, other := range others {
		fmt.Fprintf(&rules, "meta l4proto udp ip saddr %s drop\nmeta l4proto udp ip daddr %s drop\n", other.public, other.public)
	}
	if len(others) == 0 {
		signal := s.lab.Signal.addr
		fmt.Fprintf(&rules, "meta l4proto udp ip saddr != %s ip daddr != %s drop\n", signal, signal)
	}
	s.cut = rules.String()
	s.apply()
}

// DropTo makes the box drop, silently, the UDP packets of its hosts to another site;
// what comes from there passes.
func (s *Site) DropTo(other *Site) {
	s.lab.t.Helper()
	s.cut = fmt.Sprintf("meta l4proto udp ip daddr %s drop\n", other.public)
	s.apply()
}

// OnlyTo makes the box drop, silently and in both directions, all packets but those
// between its hosts and one public host, as where there is a proxy and nothing else.
func (s *Site) OnlyTo(proxy *Host) {
	s.lab.t.Helper()
	s.cut = fmt.Sprintf("ip saddr != %s ip daddr != %s drop\n", proxy.addr, proxy.addr)
	s.apply()
}

// Heal ends what Drop, DropTo and OnlyTo began.
func (s *Site) Heal() {
	s.lab.t.Helper()
	s.cut = ""
	s.apply()
}

// SetMTU lets the box forward IP packets of at most so many bytes, in both
// directions, from now on, as where its provider's line is a tunnel. Of larger
// ones, those that allow it are cut into fragments. The others are dropped, and
// the box tells their sender with ICMP unless it is silent, as many are. Packets
// count as they are on the wire, also where the kernel forwards many in one
// piece. A silent box is so to senders of UDP only: that TCP learns of the limit,
// from ICMP and when a connection begins, is seen to by those who run such lines.
func (s *Site) SetMTU(bytes int, silent bool) {
	s.lab.t.Helper()
	s.clamp, s.silence = "tcp flags syn tcp option maxseg size set rt mtu", ""
	if silent {
		// 17 bytes into the ICMP message is the protocol of the packet it is about.
		s.silence = "icmp type destination-unreachable icmp code frag-needed @th,136,8 17 drop"
	}
	s.apply()
	for device, addr := range map[string]netip.Addr{"wan0": s.public, "lan0": s.local(1)} {
		network := netip.PrefixFrom(addr, 24).Masked()
		// The kernel makes the route with the address; this one is the same but for the limit.
		s.lab.ip(s.box, fmt.Sprintf("route replace %s dev %s proto kernel scope link src %s mtu %d", network, device, addr, bytes))
	}
}

// Forward makes the box forward a TCP port of its public address to a host
// behind it, as its owner would set it up.
func (s *Site) Forward(port uint16, to *Host) {
	s.lab.t.Helper()
	s.ports += fmt.Sprintf("iifname wan0 tcp dport %d dnat to %s\n", port, to.addr)
	s.apply()
}

// apply gives the box its rules, all at once.
func (s *Site) apply() {
	s.lab.t.Helper()
	cmd := (&Host{namespace: s.box}).Command(s.lab.t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(s.rules())
	if out, err := cmd.CombinedOutput(); err != nil {
		s.lab.t.Fatalf("natlab: rules of %s: %v: %s", s.box, err, out)
	}
}

// rules returns the packet filter of the box. Whatever the public side sends
// unasked to the box itself is dropped: answered, or merely accepted, it would
// occupy the port in the connection table, and a host behind the box that
// sends from that port would be given another one: a port-restricted box would
// turn into a symmetric one.
func (s *Site) rules() string {
	masquerade, forwarded, blocked := "masquerade", "", ""
	switch s.kind {
	case FullCone:
		forwarded = "iifname wan0 meta l4proto udp dnat to " + s.LAN.addr.String()
	case Symmetric:
		masquerade = "masquerade fully-random"
	case UDPBlocked:
		blocked = "iifname wan0 meta l4proto udp drop\noifname wan0 meta l4proto udp drop"
	}
	return fmt.Sprintf(`flush ruleset
table ip box {
	chain outgoing {
		type nat hook postrouting priority srcnat
		oifname wan0 %s
	}
	chain incoming {
		type nat hook prerouting priority dstnat
		%s
		%s
	}
	chain itself {
		type filter hook input priority filter
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
		iifname wan0 drop
	}
}
`, masquerade, s.ports, forwarded, s.silence, s.clamp, blocked, s.cut)
}
