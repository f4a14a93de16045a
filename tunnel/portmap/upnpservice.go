package portmap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strconv"
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
	firstPort  = 1024 // below are those of the router itself
	maxPort    = 1<<16 - 1
	upnpName   = "peerway"
	upnpUDP    = "UDP"
	upnpActive = "1"
)

// A upnpService is what of a router maps ports.
type upnpService struct {
	name  string // its type, the name space of the actions
	soap  soap.SOAPClient
	local netip.Addr
}

func (s *upnpService) protocol() Protocol { return UPnP }

// findUPnP looks for a router, which first must answer within that time. Of its services,
// one that has a public address is best.
func (r router) findUPnP(ctx context.Context, first time.Duration) (service, netip.Addr, error) {
	var best *upnpService
	var external netip.Addr
	searching, cancel := context.WithTimeout(ctx, first)
	defer cancel()
	err := r.discover(searching, func(host netip.Addr, at *url.URL) bool {
		asking, cancel := context.WithTimeout(ctx, deviceIn)
		defer cancel()
		client := r.client(host)
		services, _ := describe(asking, &client, at) // one that cannot is none
		for _, s := range services {
			addr, err := s.address(asking)
			if err == nil && (best == nil || isPublic(addr)) {
				best, external = s, addr
				best.local = r.local
			}
			if isPublic(external) {
				break
			}
		}
		return best != nil
	})
	return best, external, err
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
			external = uint16(firstPort + rand.N(maxPort-firstPort))
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
