package punch

import (
	"net/netip"
	"slices"

	"peerway/tunnel/network"
)

// hosts returns the addresses of this host that an attempt offers, best first.
// An empty result is no error: mapped addresses may do.
func (p *Puncher) hosts() ([]netip.Addr, error) {
	list := p.config.Interfaces
	if list == nil {
		list = network.Addresses
	}
	addrs, err := list()
	if err != nil {
		return nil, err
	}
	return selectHosts(addrs, p.config.AllowLoopback), nil
}

// selectHosts drops what a peer cannot use, what is there twice, loopback
// addresses unless there is nothing else or they are allowed, and the end of a
// list that is too long.
func selectHosts(addrs []netip.Addr, loopback bool) []netip.Addr {
	var hosts []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if usable(netip.AddrPortFrom(a, 1)) && !slices.Contains(hosts, a) {
			hosts = append(hosts, a)
		}
	}
	if !loopback && slices.ContainsFunc(hosts, func(a netip.Addr) bool { return !a.IsLoopback() }) {
		hosts = slices.DeleteFunc(hosts, netip.Addr.IsLoopback)
	}
	var v4, v6 int
	return slices.DeleteFunc(hosts, func(a netip.Addr) bool {
		if a.Is4() {
			v4++
			return v4 > maxHosts
		}
		v6++
		return v6 > maxHosts
	})
}
