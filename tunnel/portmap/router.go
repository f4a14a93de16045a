package portmap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

const (
	routerPort = 5351 // of PCP and NAT-PMP
	ssdpPort   = 1900
)

// Why there is no router to ask.
var (
	errNoGateway = errors.New("portmap: no default gateway")
	errPublic    = errors.New("portmap: this host has a public address")
)

// A router is the default gateway, as this host sees it. The zero value is none.
type router struct {
	gateway netip.AddrPort    // speaks PCP and NAT-PMP
	ssdp    [2]netip.AddrPort // where UPnP routers are asked for
	local   netip.Addr        // of this host, towards the gateway
	subnet  netip.Prefix      // of local
	device  string            // the interface that has local
}

// findRouter looks for the default gateway. It sends nothing.
func findRouter() (router, error) {
	gateway, err := defaultGateway()
	if err != nil {
		return router{}, err
	}
	to := netip.AddrPortFrom(gateway, routerPort)
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return router{}, fmt.Errorf("portmap: gateway %v: %w", gateway, err)
	}
	defer conn.Close()
	r := router{
		gateway: to,
		ssdp: [2]netip.AddrPort{
			// Asked directly, a router need not wait for a random time before it answers.
			netip.AddrPortFrom(gateway, ssdpPort),
			netip.AddrPortFrom(ssdpGroup(), ssdpPort),
		},
		local: conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(),
	}
	if isPublic(r.local) {
		return router{}, errPublic // the gateway is a provider's, and nobody's NAT
	}
	r.device, r.subnet, err = deviceOf(r.local)
	return r, err
}

// deviceOf returns the interface that has an address, and its subnet.
func deviceOf(local netip.Addr) (name string, subnet netip.Prefix, err error) {
	devices, err := net.Interfaces()
	if err != nil {
		return "", netip.Prefix{}, err
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			continue // it was removed a moment ago
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == local {
				return d.Name, prefix.Masked(), nil
			}
		}
	}
	return "", netip.Prefix{}, fmt.Errorf("portmap: no interface has %v", local)
}
