package portmap

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A Protocol is a way to talk to a router.
type Protocol string

// Protocols, best first.
const (
	PCP    Protocol = "pcp"
	NATPMP Protocol = "nat-pmp"
	UPnP   Protocol = "upnp"
)

// A service is a router that speaks a protocol. One goroutine at a time may use it. All
// methods do what they can until ctx is done.
type service interface {
	protocol() Protocol
	// lease makes a mapping, or renews it.
	lease(ctx context.Context, w wish) (lease, error)
	// check returns an error if the router no longer has the mapping as it was granted,
	// or cannot be asked.
	check(ctx context.Context, l lease) error
	// release deletes the mapping. It may be called for a lease that never came.
	release(ctx context.Context, l lease) error
}

// A wish is what a router is asked for.
type wish struct {
	port     uint16         // of this host
	external netip.AddrPort // what it would best be outside; the address may be invalid
	life     time.Duration
}

// A lease is what a router granted.
type lease struct {
	port     uint16 // of this host
	external netip.AddrPort
	life     time.Duration // 0: for ever
}

// errLost says that a router does not have a mapping any more.
var errLost = errors.New("the router has lost the mapping")

// obtain asks for a mapping. With an error that is no [refusal], the lease names one that may
// have been made without our hearing of it, and is to be released.
func obtain(ctx context.Context, s service, w wish) (lease, error) {
	granted, err := s.lease(ctx, w)
	if err == nil && (granted.external.Port() == 0 || s.protocol() != UPnP && granted.life == 0) {
		err = errLost // it was granted for no time at all
	}
	if err != nil {
		granted = lease{port: w.port, external: netip.AddrPortFrom(netip.Addr{}, granted.external.Port())}
	}
	return granted, err
}

// shared is what providers use for NAT of their own (RFC 6598).
func shared() netip.Prefix { return netip.MustParsePrefix("100.64.0.0/10") }

// isPublic reports whether others in the internet can send to an address.
func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared().Contains(a)
}
