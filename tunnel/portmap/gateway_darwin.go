package portmap

import (
	"net/netip"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// defaultGateway returns the gateway of the default route.
func defaultGateway() (netip.Addr, error) {
	table, err := route.FetchRIB(unix.AF_INET, route.RIBTypeRoute, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	messages, err := route.ParseRIB(route.RIBTypeRoute, table)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, m := range messages {
		m, ok := m.(*route.RouteMessage)
		// Routes that hold for one interface only are other interfaces' defaults.
		if !ok || m.Flags&unix.RTF_GATEWAY == 0 || m.Flags&unix.RTF_IFSCOPE != 0 || len(m.Addrs) <= unix.RTAX_NETMASK {
			continue
		}
		to, ok := m.Addrs[unix.RTAX_DST].(*route.Inet4Addr)
		if !ok || to.IP != [4]byte{} {
			continue
		}
		if mask, ok := m.Addrs[unix.RTAX_NETMASK].(*route.Inet4Addr); ok && mask.IP != [4]byte{} {
			continue
		}
		if gateway, ok := m.Addrs[unix.RTAX_GATEWAY].(*route.Inet4Addr); ok {
			return netip.AddrFrom4(gateway.IP), nil
		}
	}
	return netip.Addr{}, errNoGateway
}
