package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/hostport"
	"peerway/tunnel/network"
	"peerway/tunnel/portmap"
)

// Facts are what doctor and netcheck have found out. Fields that were not looked at
// have their zero value.
type facts struct {
	URL       signal.URL       // of the signal server, perhaps without its key
	Server    string           // HOST:PORT of it; empty: nobody knows one
	Proxy     string           // by which it is reached; empty: none
	Addresses []netip.Addr     // of this host
	Hello     error            // why it is not reached, as of [client.Probe]; nil: it is
	Servers   []netip.AddrPort // that its name stands for
	NAT       network.NAT      // of IPv4, if UDP passes there; else of IPv6
	Mapped6   netip.AddrPort   // this host's IPv6 address as the server sees it
	Probed    bool             // the NAT was asked about
	Router    portmap.Report   // what it does for the asking
	Tried     bool             // whether packets come in by the port that it opened

	Running *report // of the process that uses the state folder; nil: there is none

	Peer, Service string // what doctor was asked about
	Pong          *pong  // of Peer; nil: there was none
	PongErr       *askError
	ServiceErr    *askError // nil: it answers, or was not asked
}

// opens reports whether the router opens ports by which packets come in.
func (f *facts) opens() bool { return f.Router.Reached }

// opensNone reports whether the router speaks of opening ports, and then opens none, or one that
// leads nowhere.
func (f *facts) opensNone() bool {
	return len(f.Router.Protocols) > 0 && !f.Router.Reached && (f.Tried || !f.Router.Opened.IsValid())
}

// direct and relayed report how the tunnel with the peer goes, if there is one and that is
// known.
func (f *facts) direct() bool  { return f.Pong != nil && f.Pong.Path == "direct" }
func (f *facts) relayed() bool { return f.Pong != nil && strings.HasPrefix(f.Pong.Path, "relay") }

// pairedAt returns the signal server at which the peer was paired, if another one is used now.
func (f *facts) pairedAt() string {
	if f.Running == nil {
		return ""
	}
	for _, p := range f.Running.Peers {
		if p.Name == f.Peer {
			return p.PairedAt
		}
	}
	return ""
}

func isOfNetwork(a netip.Addr) bool { return !a.IsLoopback() && !a.IsLinkLocalUnicast() }

// needsNetwork reports whether the signal server is beyond this machine, as far as is known
// before it was asked, and not reached anyway.
func (f *facts) needsNetwork() bool {
	host, _, _ := net.SplitHostPort(f.URL.Addr)
	ip, _ := netip.ParseAddr(host)
	return host != "localhost" && !ip.IsLoopback() && (f.Running == nil || !f.Running.Signal.Connected)
}

// noName reports whether the server's name cannot be looked up.
func (f *facts) noName() bool {
	_, unknown := errors.AsType[*net.DNSError](f.Hello)
	return unknown && f.Proxy == ""
}

// otherVersion reports whether the server has no address that this host can have to do with.
func (f *facts) otherVersion() bool {
	is6 := func(a netip.AddrPort) bool { return a.Addr().Is6() }
	return f.Hello != nil && f.Proxy == "" && f.onlyIPv6() && len(f.Servers) > 0 && !slices.ContainsFunc(f.Servers, is6)
}

// onlyIPv6 reports whether this host has addresses of IPv6 and none of IPv4.
func (f *facts) onlyIPv6() bool {
	is4 := func(a netip.Addr) bool { return a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() }
	return slices.ContainsFunc(f.Addresses, isGlobal6) && !slices.ContainsFunc(f.Addresses, is4)
}

// serverOf returns the signal server: as given, of the process that runs, or as the state
// folder remembers.
func (p *program) serverOf(given string, running *report) (signal.URL, error) {
	switch {
	case strings.Contains(given, "://"):
		return signal.ParseURL(given) // whose error shows no secret
	case given != "":
		if _, _, err := net.SplitHostPort(given); err != nil {
			given = net.JoinHostPort(given, "7443")
		}
		return signal.URL{Addr: given}, nil
	case running != nil && running.Signal.URL == "":
		return signal.URL{}, nil
	case running != nil:
		redacted := strings.TrimSuffix(strings.TrimSuffix(running.Signal.URL, "…"), ".")
		return signal.ParseURL(redacted)
	}
	if _, err := os.Stat(p.statePath()); errors.Is(err, fs.ErrNotExist) {
		return signal.URL{}, nil // who only asks makes no folder
	}
	dir, err := state.Open(p.statePath())
	if err != nil {
		return signal.URL{}, err
	}
	defer dir.Close()
	self, err := dir.Self()
	return self.Signal, err
}

// lookAtHost fills in the addresses of this host.
func (f *facts) lookAtHost() { f.Addresses, _ = network.Addresses() } // none says the same

// lookAtProxy fills in by which proxy the signal server is reached.
func (f *facts) lookAtProxy() {
	if through, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: f.Server}}); err == nil && through != nil {
		f.Proxy = through.Redacted()
	}
}

// lookAtNetwork fills in what concerns the network of this host, and the signal server.
func (f *facts) lookAtNetwork(ctx context.Context) {
	f.Server = f.URL.Addr
	f.lookAtHost()
	callers := make(chan netip.AddrPort, 1) // where somebody sends from to a port of the router
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(callers)
	asking.Go(func() { f.lookAtRouter(ctx, callers) })
	if f.Server == "" {
		return
	}
	f.lookAtProxy()
	patient, cancel := context.WithTimeoutCause(ctx, reachWithin, fmt.Errorf("no answer within %v", reachWithin))
	defer cancel()
	asking.Go(func() { f.Servers, _ = hostport.Resolve(patient, f.Server) }) // behind a proxy, names may mean nothing
	var server, other netip.AddrPort
	if server, other, f.Hello = client.Probe(patient, client.Config{URL: f.URL, Proxy: http.ProxyFromEnvironment}); f.Hello != nil {
		if errors.Is(f.Hello, context.DeadlineExceeded) {
			f.Hello = lateError{f.Hello, reachWithin}
		}
		return
	}
	servers := slices.DeleteFunc([]netip.AddrPort{server, other}, func(a netip.AddrPort) bool { return !a.IsValid() })
	if at := slices.IndexFunc(servers, func(a netip.AddrPort) bool { return a.Addr().Is4() }); at >= 0 {
		callers <- servers[at]
	}
	f.probe(patient, servers)
}

// lookAtRouter fills in what the router does. By whom the port that it opens is tried comes from
// callers, which is closed if there is nobody.
func (f *facts) lookAtRouter(ctx context.Context, callers <-chan netip.AddrPort) {
	router, err := portmap.Probe(ctx, func(at *net.UDPConn, port netip.AddrPort) bool {
		var caller netip.AddrPort
		caller, f.Tried = <-callers
		return f.Tried && network.CallBack(ctx, caller, at, port.Port())
	})
	if err == nil { // no router opens no port
		f.Router = router
	}
}

// A lateError is that of a deadline, in words.
type lateError struct {
	error
	after time.Duration
}

func (e lateError) Unwrap() error { return e.error }

// Error implements error.
func (e lateError) Error() string {
	return strings.ReplaceAll(e.error.Error(), context.DeadlineExceeded.Error(), fmt.Sprintf("no answer within %v", e.after))
}

// probe fills in what the first server of each version of IP sees of this host.
func (f *facts) probe(ctx context.Context, servers []netip.AddrPort) {
	var asking sync.WaitGroup
	var nats [2]*network.NAT // of IPv4 and of IPv6; nil: nothing could be asked
	for version := range nats {
		at := slices.IndexFunc(servers, func(s netip.AddrPort) bool { return s.Addr().Is4() == (version == 0) })
		if at < 0 {
			continue
		}
		asking.Go(func() {
			if nat, err := network.ProbeNAT(ctx, servers[at]); err == nil {
				nats[version] = &nat
			}
		})
	}
	asking.Wait()
	for version, nat := range nats {
		if nat == nil {
			continue
		}
		f.Probed = true
		if !f.NAT.Mapped.IsValid() {
			f.NAT = *nat
		}
		if version == 1 {
			f.Mapped6 = nat.Mapped
		}
	}
}

// isGlobal6 reports whether an address is one of the IPv6 internet.
func isGlobal6(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && !a.IsPrivate()
}
