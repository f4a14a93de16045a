package lan

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"peerway/tunnel/network"
)

// A link is a local network that this host is in.
type link struct {
	device   net.Interface
	prefixes []netip.Prefix // each with the address of this host in it
}

// links are all of them.
type links []link

// lookAround returns the local networks. Loopback is one if it is asked for. Those of
// containers and of tunnels between two hosts are none.
func lookAround(loopback bool) (found links, err error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	used, err := network.Addresses()
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		isLoopback := device.Flags&net.FlagLoopback != 0
		multicasts := device.Flags&net.FlagMulticast != 0 && device.Flags&net.FlagPointToPoint == 0
		if device.Flags&net.FlagUp == 0 || isLoopback && !loopback || !isLoopback && !multicasts {
			continue
		}
		addrs, err := device.Addrs()
		if err != nil {
			continue // it was removed a moment ago
		}
		l := link{device: device}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && slices.Contains(used, p.Addr()) && (isInternal(p.Addr()) || isLoopback) {
				l.prefixes = append(l.prefixes, p)
			}
		}
		if len(l.prefixes) > 0 {
			found = append(found, l)
		}
	}
	return found, nil
}

// isInternal reports whether an address can only be one of a local network.
func isInternal(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() }

// of returns the local network that a is an address of.
func (ls links) of(a netip.Addr) (*link, bool) {
	for i := range ls {
		if ls[i].has(a) {
			return &ls[i], true
		}
	}
	return nil, false
}

func (l *link) has(a netip.Addr) bool {
	if zone := a.Zone(); zone != "" && zone != l.device.Name && zone != l.zone() {
		return false
	}
	a = a.WithZone("")
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool {
		return p.Contains(a) && (isInternal(a) || a.IsLoopback())
	})
}

// zone names the link in addresses, in the form that the path socket reports (RFC 4007
// section 11.2).
func (l *link) zone() string { return strconv.Itoa(l.device.Index) }

// addrs returns the addresses of this host on the link.
func (l *link) addrs() []netip.Addr {
	addrs := make([]netip.Addr, len(l.prefixes))
	for i, p := range l.prefixes {
		addrs[i] = p.Addr()
	}
	return addrs
}
