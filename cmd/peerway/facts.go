package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/tunnel/network"
)

// Facts are what doctor and netcheck have found out. Fields that were not looked at
// have their zero value.
type facts struct {
	Server    string       // HOST:PORT of the signal server; empty: nobody knows one
	Proxy     string       // by which it is reached; empty: none
	Addresses []netip.Addr // of this host
	TCP       error        // why the server cannot be connected to; nil: it can
	NAT       network.NAT
	Probed    bool // the NAT was asked about

	Running *report // of the process that uses the state folder; nil: there is none

	Peer, Service string // what doctor was asked about
	Pong          *pong  // of Peer; nil: there was none
	PongErr       *askError
	ServiceErr    *askError // nil: it answers, or was not asked
}

// serverOf returns where the signal server is: as given, of the process that runs, or as
// the state folder remembers.
func (p *program) serverOf(given string, running *report) (string, error) {
	switch {
	case given != "":
		if _, _, err := net.SplitHostPort(given); err != nil {
			given = net.JoinHostPort(given, "7443")
		}
		return given, nil
	case running != nil:
		u, err := url.Parse(running.Signal.URL)
		if err != nil {
			return "", err
		}
		return u.Host, nil
	}
	dir, err := state.Open(p.statePath())
	if err != nil {
		return "", err
	}
	defer dir.Close()
	self, err := dir.Self()
	return self.Signal.Addr, err
}

// lookAtNetwork fills in what concerns the network of this host.
func (f *facts) lookAtNetwork(ctx context.Context) {
	f.Addresses, _ = network.Addresses() // none says the same
	if f.Server == "" {
		return
	}
	if through, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: f.Server}}); err == nil && through != nil {
		f.Proxy = through.Redacted()
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := f.Server
	if f.Proxy == "" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.Server)
		if f.TCP = err; err != nil {
			return
		}
		address = conn.RemoteAddr().String()
		conn.Close()
	}
	addr, err := resolve(ctx, address)
	if err != nil {
		return // behind a proxy, names may mean nothing
	}
	nat, err := network.ProbeNAT(ctx, addr)
	f.NAT, f.Probed = nat, err == nil
}

// resolve returns the first address of HOST:PORT.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddrPort(address); err == nil {
		return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(found) == 0 {
		return netip.AddrPort{}, errors.New("no address")
	}
	return netip.ParseAddrPort(net.JoinHostPort(found[0].Unmap().String(), port))
}

// isGlobal6 reports whether an address is one of the IPv6 internet.
func isGlobal6(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && !a.IsPrivate()
}
