//go:build linux

package natlab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

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
	// Sequential takes a new public port for every destination, the next one: so
	// many after the last as SiteConfig.Step says.
	Sequential
)

// Kinds returns all of them but Sequential, which differs from Symmetric only for who
// tries to foresee the port.
func Kinds() []Kind { return []Kind{FullCone, PortRestricted, Symmetric, UDPBlocked} }

// String returns a short name.
func (k Kind) String() string {
	return [...]string{"full-cone", "port-restricted", "symmetric", "udp-blocked", "sequential"}[k]
}

// SiteConfig says how to build a site.
type SiteConfig struct {
	Kind  Kind
	Stack Stack
	Step  int   // of a Sequential site's ports, from -7 to 7; 0 is 1
	Link  *Link // joins the site to the public network by a Wire; nil is a cable without delay
}

// A Site is a box with hosts behind it. It translates IPv4. In IPv6, its hosts have
// addresses of a network that the public network routes to the box, which lets in UDP
// from anybody if it is a full cone, and else, as home routers do, only what answers.
type Site struct {
	// LAN is the host behind the box, to which a full cone forwards. Its
	// address is 192.168.N.2.
	LAN *Host

	lab    *Lab
	box    string // namespace of the box
	public netip.Addr
	inner6 netip.Prefix // of the hosts
	stack  Stack
	number int
	moves  int           // of inner6
	hosts  map[*Host]int // that were ever plugged in: who comes back has its address again
	inside []*Host       // that are
	wire   *Wire
	kind   Kind
	step   int
	cut    func(protocol string) string // returns rules that drop
	clamp  string                       // the rule that tells TCP of the MTU
	silent bool                         // it tells nobody else
	ports  string                       // rules that forward TCP ports
	daemon string                       // tables of the daemon that maps ports
}

// Site adds a site with one host to the lab.
func (l *Lab) Site(cfg SiteConfig) *Site {
	l.t.Helper()
	s := &Site{lab: l, number: l.sites, kind: cfg.Kind, step: cmp.Or(cfg.Step, 1), stack: cfg.Stack, cut: uncut, hosts: map[*Host]int{}}
	l.sites++
	s.box = l.namespace(fmt.Sprintf("box%d", s.number))
	var outer6 netip.Addr
	if s.stack.has4() {
		s.public = l.public(firstSite + s.number)
	}
	if s.stack.has6() {
		outer6 = s.outer6()
		l.route6()
		l.set(s.box, "ipv6/conf/all/forwarding", "1")
	}
	if cfg.Link == nil {
		l.plug(s.box, "wan0", s.public, outer6)
	} else {
		s.wire = l.wire(s.box, "wan0", s.public, outer6, *cfg.Link)
	}
	l.ip(s.box,
		"link add name lan0 address "+bridgeAddress+" type bridge forward_delay 0 stp_state 0",
		"addr add "+s.local(1).String()+"/24 dev lan0",
		"link set lan0 up",
		// The addresses of other sites' inner networks lead nowhere, silently, as
		// at a provider.
		"route add blackhole 192.168.0.0/16")
	l.set(s.box, "ipv4/ip_forward", "1")
	l.set(s.box, "bridge/bridge-nf-call-iptables", "0")
	if s.stack.has6() {
		l.set(s.box, "bridge/bridge-nf-call-ip6tables", "0")
		l.ip(s.box, "addr add "+boxInside+"/64 dev lan0 nodad")
		s.delegate()
	}
	s.LAN = s.Host()
	s.apply()
	return s
}

// outer6 returns the address of the box in the public network of IPv6.
func (s *Site) outer6() netip.Addr { return public6(firstSite + s.number) }

// delegate gives the site a network that it has not had, and has that routed to it.
func (s *Site) delegate() {
	s.lab.t.Helper()
	s.moves++
	s.inner6 = netip.PrefixFrom(address6(uint16(s.moves), uint16(1+s.number), 0), bits6)
	s.lab.ip(s.lab.core, fmt.Sprintf("route add %v via %v", s.inner6, s.outer6()))
	s.lab.ip(s.box, fmt.Sprintf("addr add %v/%d dev lan0 nodad", s.local6(1), bits6))
}

// Host adds one more host behind the box.
func (s *Site) Host() *Host {
	s.lab.t.Helper()
	h := &Host{lab: s.lab, namespace: s.lab.namespace(fmt.Sprintf("lan%d.%d", s.number, len(s.hosts)))}
	s.lab.tellNames(h.namespace)
	s.plug(h)
	return h
}

// Move unplugs a host from where it is and plugs it in behind the box: its device is
// another one, and so are its addresses and its default routes.
func (s *Site) Move(h *Host) {
	s.lab.t.Helper()
	s.lab.ip(h.namespace, "link delete eth0")
	h.site.inside = slices.DeleteFunc(h.site.inside, func(other *Host) bool { return other == h })
	s.plug(h)
}

// plug connects a host to the box, and gives it addresses.
func (s *Site) plug(h *Host) {
	s.lab.t.Helper()
	if s.hosts[h] == 0 {
		s.hosts[h] = 2 + len(s.hosts)
	}
	h.site, h.number = s, s.hosts[h]
	h.addr, h.addr6 = netip.Addr{}, netip.Addr{}
	port := fmt.Sprintf("port%d", h.number)
	s.inside = append(s.inside, h)
	s.lab.ip(s.box,
		"link add name "+port+" type veth peer name eth0 netns "+h.namespace,
		"link set "+port+" master lan0 up")
	if s.stack.has4() {
		h.addr = s.local(h.number)
		s.lab.ip(h.namespace,
			"addr add "+h.addr.String()+"/24 dev eth0",
			"link set eth0 up",
			"route add default via "+s.local(1).String())
	}
	if s.stack.has6() {
		h.addr6 = s.local6(h.number)
		s.lab.ip(h.namespace, append([]string{"link set eth0 up"}, h.lines6()...)...)
	}
}

// Renumber gives the site another public address and another network of IPv6, as
// providers do: all that is under way has to find its way anew. Hosts are told of the
// network, as by a router: its addresses are added, the others deprecated.
func (s *Site) Renumber() {
	s.lab.t.Helper()
	if s.stack.has4() {
		old := s.public
		s.public = s.public.Next()
		for range 50 { // half of the addresses of sites are for this
			s.public = s.public.Next()
		}
		s.lab.ip(s.box,
			"addr del "+old.String()+"/24 dev wan0",
			"addr add "+s.public.String()+"/24 dev wan0")
	}
	if s.stack.has6() {
		old := s.inner6
		s.lab.ip(s.lab.core, fmt.Sprintf("route del %v", old))
		s.delegate()
		for _, h := range s.inside {
			before := h.addr6
			h.addr6 = s.local6(h.number)
			s.lab.ip(h.namespace, append(h.lines6(),
				fmt.Sprintf("addr change %v/%d dev eth0 preferred_lft 0", before, bits6))...)
		}
	}
	s.forget()
}

// forget makes the box forget all translations, and who was sent to, so far.
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

// local6 returns an address of the inner network of IPv6.
func (s *Site) local6(host int) netip.Addr {
	return address6(uint16(s.moves), uint16(1+s.number), host)
}

// Public returns the IPv4 address of the site in the public network.
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

// SetMTU lets the box forward IP packets of at most so many bytes, in both
// directions, from now on, as where its provider's line is a tunnel. Of larger
// ones, those that allow it are cut into fragments. The others are dropped, and
// the box tells their sender with ICMP unless it is silent, as many are. Packets
// count as they are on the wire, also where the kernel forwards many in one
// piece. A silent box is so to senders of UDP only: that TCP learns of the limit,
// from ICMP and when a connection begins, is seen to by those who run such lines.
func (s *Site) SetMTU(bytes int, silent bool) {
	s.lab.t.Helper()
	s.clamp, s.silent = "tcp flags syn tcp option maxseg size set rt mtu", silent
	s.apply()
	// The kernel makes the routes with the addresses; these are the same but for the limit.
	if s.stack.has4() {
		for device, addr := range map[string]netip.Addr{"wan0": s.public, "lan0": s.local(1)} {
			network := netip.PrefixFrom(addr, 24).Masked()
			s.lab.ip(s.box, fmt.Sprintf("route replace %s dev %s proto kernel scope link src %s mtu %d", network, device, addr, bytes))
		}
	}
	if s.stack.has6() {
		public := netip.PrefixFrom(public6(0), bits6)
		s.lab.ip(s.box,
			fmt.Sprintf("route replace %v dev wan0 proto kernel metric 256 mtu %d", public, bytes),
			fmt.Sprintf("route replace %v dev lan0 proto kernel metric 256 mtu %d", s.inner6, bytes),
			fmt.Sprintf("route replace %s via %v dev wan0 mtu %d", always, public6(router6), bytes))
	}
}

// Forward makes the box forward a TCP port of its public address to a host
// behind it, as its owner would set it up, in IPv4.
func (s *Site) Forward(port uint16, to *Host) {
	s.lab.t.Helper()
	s.ports += fmt.Sprintf("iifname wan0 tcp dport %d dnat to %s\n", port, to.addr)
	s.apply()
}
