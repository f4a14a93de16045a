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
	// Half of the places are for each family, and what the one leaves for the other: a
	// host may have dozens of IPv6 addresses, and a peer none.
	var all [2]int
	for _, a := range hosts {
		all[familyOf(a)]++
	}
	var kept [2]int
	return slices.DeleteFunc(hosts, func(a netip.Addr) bool {
		family := familyOf(a)
		kept[family]++
		return kept[family] > max(maxHosts/2, maxHosts-all[1-family])
	})
}
