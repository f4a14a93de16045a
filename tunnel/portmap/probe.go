package portmap

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	probeFirst = 250 * time.Millisecond
	probeLife  = 2 * time.Minute // the shortest that PCP recommends (RFC 6887 section 15)
)

// A Report is what the router of the local network can do.
type Report struct {
	// Gateway is its address.
	Gateway netip.Addr

	// Protocols are those that it answers, best first.
	Protocols []Protocol

	// External is the address that it has outside, as it says itself; the zero value if it
	// says nothing. 0.0.0.0 is none: many routers say so also when theirs is not public.
	External netip.Addr
}

// DoubleNAT reports whether the router knows that nobody in the internet can send to it: it
// is not connected, or, where the internet can be reached, there is another NAT behind it.
func (r Report) DoubleNAT() bool { return r.External.IsValid() && !isPublic(r.External) }

// Probe asks the router in all protocols at once. Each must answer within 250 ms; then
// there are 2 s for the rest. What may be made at the router meanwhile, a mapping for a
// port that is nobody's, is deleted. An error says that there is no router to ask.
func Probe(ctx context.Context) (Report, error) {
	r, err := findRouter()
	if err != nil {
		return Report{}, err
	}
	return r.probe(ctx)
}

func (r router) probe(ctx context.Context) (Report, error) {
	limited, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	finders := r.finders(newNonce())
	findings := make(chan finding, len(finders))
	find(limited, finders, probeFirst, findings)
	close(findings)
	var found []finding
	for f := range findings {
		if f.err == nil {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return cmp.Compare(a.rank, b.rank) })
	report := Report{Gateway: r.gateway.Addr()}
	for _, f := range found {
		report.Protocols = append(report.Protocols, f.service.protocol())
		if !report.External.IsValid() {
			report.External = f.external
		}
	}
	if len(found) > 0 && !report.External.IsValid() { // PCP tells only who asks for a mapping
		report.External, _ = r.try(limited, found[0].service)
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return report, nil
}

// try makes a mapping to a socket that nobody reads, and deletes it.
func (r router) try(ctx context.Context, s service) (netip.Addr, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.local, 0)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("portmap: %w", err)
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	granted, err := s.lease(ctx, wish{port: port, external: netip.AddrPortFrom(netip.Addr{}, port), life: probeLife})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseIn)
	defer cancel()
	s.release(ctx, lease{port: port, external: granted.external})
	return granted.external.Addr(), err
}
