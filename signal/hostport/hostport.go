// Package hostport finds out the addresses that HOST:PORT stands for, as it is written in
// URLs of signal servers and relays.
//
// # Ownership
//
// The package holds nothing.
package hostport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Resolve returns all addresses of HOST:PORT, those of IPv4 as such, in the order in which
// the system's resolver has them. An address is its own. It lasts as long as ctx lets it.
func Resolve(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(hostport); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}, nil
	}
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%.20q is not a port", service)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return addrs, nil
}

// IsPublic reports whether an address may be one at which the whole internet reaches somebody:
// one that IANA's registries of special addresses (RFC 6890) say nothing of. Those for
// documentation count, since nobody has them but in laboratories.
func IsPublic(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) {
		return false
	}
	for _, special := range []string{
		"0.0.0.0/8",
		"100.64.0.0/10", // NAT of providers, and Tailscale
		"192.0.0.0/24",
		"192.88.99.0/24",
		"198.18.0.0/15", // benchmarks
		"240.0.0.0/4",
		"2001::/23", // Teredo and others
		"2002::/16", // 6to4
	} {
		if netip.MustParsePrefix(special).Contains(a) {
			return false
		}
	}
	return true
}

// Split returns the first address of IPv4 and the first of IPv6; invalid ones where there is
// none.
func Split(addrs []netip.AddrPort) (ip4, ip6 netip.AddrPort) {
	for _, addr := range addrs {
		switch {
		case addr.Addr().Is4() && !ip4.IsValid():
			ip4 = addr
		case addr.Addr().Is6() && !ip6.IsValid():
			ip6 = addr
		}
	}
	return ip4, ip6
}
