package network

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A device is what ranking needs to know of a [net.Interface].
type device struct {
	name  string
	up    bool
	addrs []netip.Addr
}

// Addresses returns the addresses of this host's interfaces, best first: the sources of
// the default routes, other addresses of their interfaces, the rest, those of IPv6 that
// only mean something nearby (RFC 4193), those of tunnels, those that are about to go,
// and loopback. Interfaces of containers and virtual machines are left out unless a
// default route leads through them.
func Addresses() ([]netip.Addr, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var interfaces []device
	for _, f := range found {
		addrs, err := f.Addrs()
		if err != nil {
			continue // it was removed a moment ago
		}
		i := device{name: f.Name, up: f.Flags&net.FlagUp != 0}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				i.addrs = append(i.addrs, prefix.Addr())
			}
		}
		interfaces = append(interfaces, i)
	}
	// Connecting a UDP socket sends nothing: the kernel only looks up the route
	// and so tells which address it would send from: of several of IPv6, the temporary one
	// if it prefers these.
	return rank(interfaces, unfit(), sourceFor("udp4", "192.0.2.1:9"), sourceFor("udp6", "[2001:db8::1]:9")), nil
}

// Lasting returns what [Addresses] does, with those last that the host changes every day
// (RFC 8981): for others to remember. Where the system does not tell which they are, the
// order is the same.
func Lasting() ([]netip.Addr, error) {
	addrs, err := Addresses()
	var lasting, changing []netip.Addr
	known := temporary()
	for _, a := range addrs {
		if slices.Contains(known, a) {
			changing = append(changing, a)
		} else {
			lasting = append(lasting, a)
		}
	}
	return append(lasting, changing...), err
}

// sourceFor returns the address that the system would send from, or the zero
// Addr if there is no route.
func sourceFor(network, to string) netip.Addr {
	conn, err := net.Dial(network, to)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// rank orders the addresses of interfaces. Peers elsewhere cannot reach those of
// containers and virtual machines, and there can be dozens.
func rank(interfaces []device, unfit []netip.Addr, sources ...netip.Addr) []netip.Addr {
	type ranked struct {
		addr netip.Addr
		rank int
	}
	var all []ranked
	for _, i := range interfaces {
		isSource := func(a netip.Addr) bool { return slices.Contains(sources, a) }
		isDefault := slices.ContainsFunc(i.addrs, isSource)
		if !i.up || !isDefault && hasPrefix(i.name, virtualNames()) {
			continue
		}
		for _, a := range i.addrs {
			r := ranked{a, 2}
			switch {
			case a.IsLoopback():
				r.rank = 6
			case slices.Contains(unfit, a):
				r.rank = 5
			case hasPrefix(i.name, tunnelNames()):
				r.rank = 4
			case a.Is6() && a.IsPrivate():
				r.rank = 3
			case isSource(a):
				r.rank = 0
			case isDefault:
				r.rank = 1
			}
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	addrs := make([]netip.Addr, len(all))
	for i, r := range all {
		addrs[i] = r.addr
	}
	return addrs
}

// virtualNames are how interfaces between the host and its containers or
// virtual machines are called.
func virtualNames() []string {
	return []string{
		"docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "cilium", "kube-",
		"vmnet", "vboxnet", "lxc", "lxd", "podman", "vethernet", "virtualbox", "vmware", "bridge10",
	}
}

// tunnelNames are how interfaces are called that wrap packets again: they work,
// with less room in each packet.
func tunnelNames() []string {
	return []string{"tailscale", "wg", "tun", "tap", "utun", "ppp", "zt", "nebula", "ipsec"}
}

func hasPrefix(name string, prefixes []string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
