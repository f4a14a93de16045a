package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/huin/goupnp/soap"
)

// Errors that routers give (UPnP WANIPConnection:2, section 2.5.16, and Device
// Architecture, section 3.2.5).
const (
	upnpInvalidArgs   = 402 // some mean by this that they know permanent leases only
	upnpConflict      = 718 // another host has the port
	upnpOnlyPermanent = 725
)

const (
	maxPorts   = 4 // external ports that are tried
	deviceIn   = time.Second
	upnpName   = "peerway"
	upnpUDP    = "UDP"
	upnpActive = "1"
)

// A upnpService is what of a router maps ports.
type upnpService struct {
	name  string // its type, the name space of the actions
	soap  soap.SOAPClient
	local netip.Addr
	seed  Seed
}

func (s *upnpService) protocol() Protocol { return UPnP }

// upnpFinder is findUPnP for the ports of a seed.
func (r router) upnpFinder(s Seed) finder {
	return func(ctx context.Context, first time.Duration) (service, netip.Addr, error) {
		u, external, err := r.findUPnP(ctx, first)
		if err != nil {
			return nil, netip.Addr{}, err
		}
		u.seed = s
		return u, external, nil
	}
}

// findUPnP looks for routers, all at once, and returns the best that answers within first: one
// with a public address before others, and of these the default gateway. Nothing is
// better than both, and ends the search. What has answered by then has another second to
// describe itself, while nobody has told a public address.
func (r router) findUPnP(ctx context.Context, first time.Duration) (*upnpService, netip.Addr, error) {
	asking, enough := context.WithCancel(ctx)
	defer enough()
	searching, cancel := context.WithTimeout(asking, first)
	defer cancel()
	var mu sync.Mutex
	var best upnpRouter
	take := func(found upnpRouter) {
		mu.Lock()
		defer mu.Unlock()
		if found.rank() > best.rank() {
			best = found
		}
		if best.rank() == bestRank || best.rank() >= publicRank && searching.Err() != nil {
			enough()
		}
	}
	var looking sync.WaitGroup
	err := r.discover(searching, func(host netip.Addr, at *url.URL) {
		looking.Go(func() { take(r.examine(asking, host, at)) })
	})
	take(upnpRouter{}) // the search is over
	looking.Wait()
	if best.service == nil {
		return nil, netip.Addr{}, err
	}
	return best.service, best.external, nil
}

// A upnpRouter is one that answers, with the service of it that maps ports; nil: there is
// none.
type upnpRouter struct {
	service  *upnpService
	external netip.Addr
	gateway  bool // it is the default gateway
}

// Ranks of routers. 0 is of no use.
const (
	publicRank = 3
	bestRank   = 4
)

func (u upnpRouter) rank() (rank int) {
	if u.service == nil {
		return 0
	}
	rank = 1
	if isPublic(u.external) {
		rank = publicRank
	}
	if u.gateway {
		rank++
	}
	return rank
}

// examine asks a router what it is. Of its services, one that has a public address is best.
func (r router) examine(ctx context.Context, host netip.Addr, at *url.URL) upnpRouter {
	ctx, cancel := context.WithTimeout(ctx, deviceIn)
	defer cancel()
	found := upnpRouter{gateway: host == r.gateway.Addr()}
	client := r.client(host)
	services, _ := describe(ctx, &client, at) // one that cannot is none
	for _, s := range services {
		addr, err := s.address(ctx)
		if err == nil && (found.service == nil || isPublic(addr)) {
			s.local = r.local
			found.service, found.external = s, addr
		}
		if isPublic(found.external) {
			break
		}
	}
	return found
}

// address asks for the external address.
func (s *upnpService) address(ctx context.Context) (netip.Addr, error) {
	var out struct{ NewExternalIPAddress string }
	if err := s.do(ctx, "GetExternalIPAddress", &struct{}{}, &out); err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(out.NewExternalIPAddress)
	if err != nil || !a.Is4() {
		return netip.IPv4Unspecified(), nil // routers that are not connected say all sorts of things
	}
	return a, nil
}

// A upnpMapping names a mapping.
type upnpMapping struct{ NewRemoteHost, NewExternalPort, NewProtocol string }

// A upnpAddition is a mapping to be made. Routers want the fields in this order.
type upnpAddition struct {
	NewRemoteHost, NewExternalPort, NewProtocol string
	NewInternalPort, NewInternalClient          string
	NewEnabled, NewPortMappingDescription       string
	NewLeaseDuration                            string // seconds
}

func (s *upnpService) lease(ctx context.Context, w wish) (lease, error) {
	addr, err := s.address(ctx) // first, as with NAT-PMP
	if err != nil {
		return lease{port: w.port}, err
	}
	external, life := w.external.Port(), w.life
	for tries := 1; ; {
		err := s.do(ctx, "AddPortMapping", &upnpAddition{
			NewExternalPort: decimal(external), NewProtocol: upnpUDP,
			NewInternalPort: decimal(w.port), NewInternalClient: s.local.String(),
			NewEnabled: upnpActive, NewPortMappingDescription: upnpName,
			NewLeaseDuration: strconv.Itoa(int(life / time.Second)),
		}, nil)
		code := errorCode(err)
		switch {
		case err == nil:
			return lease{w.port, netip.AddrPortFrom(addr, external), life}, nil
		case code == upnpConflict && tries < maxPorts:
			external = s.seed.port(tries)
			tries++
		case (code == upnpOnlyPermanent || code == upnpInvalidArgs) && life != 0:
			life = 0
		default:
			return lease{port: w.port, external: netip.AddrPortFrom(netip.Addr{}, external)}, err
		}
	}
}

func (s *upnpService) check(ctx context.Context, l lease) error {
	addr, err := s.address(ctx)
	if err != nil {
		return err
	}
	if addr != l.external.Addr() {
		return errLost
	}
	return s.leadsHere(ctx, l)
}

// leadsHere returns an error unless the mapping is there and leads to this host.
func (s *upnpService) leadsHere(ctx context.Context, l lease) error {
	var out struct{ NewInternalPort, NewInternalClient string }
	if err := s.do(ctx, "GetSpecificPortMappingEntry", mappingOf(l), &out); err != nil {
		return err
	}
	if out.NewInternalPort != decimal(l.port) || out.NewInternalClient != s.local.String() {
		return errLost
	}
	return nil
}

func (s *upnpService) release(ctx context.Context, l lease) error {
	if !l.external.Addr().IsValid() {
		// It was never granted, and some routers let everybody delete everything.
		if err := s.leadsHere(ctx, l); err != nil {
			return err
		}
	}
	return s.do(ctx, "DeletePortMapping", mappingOf(l), nil)
}

func mappingOf(l lease) *upnpMapping {
	return &upnpMapping{NewExternalPort: decimal(l.external.Port()), NewProtocol: upnpUDP}
}

// do has the router do something. The arguments are structs of strings.
func (s *upnpService) do(ctx context.Context, action string, in, out any) error {
	if err := s.soap.PerformActionCtx(ctx, s.name, action, in, out); err != nil {
		if code := errorCode(err); code != 0 {
			return refusal{UPnP, code}
		}
		return fmt.Errorf("upnp: %s: %w", action, err)
	}
	return nil
}

// errorCode returns what a router says is wrong, or 0.
func errorCode(err error) int {
	if r, ok := errors.AsType[refusal](err); ok {
		return r.code
	}
	if fault, ok := errors.AsType[*soap.SOAPFaultError](err); ok {
		return fault.Detail.UPnPError.Errorcode
	}
	return 0
}

func decimal(port uint16) string { return strconv.Itoa(int(port)) }
