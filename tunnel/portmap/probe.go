package portmap

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	probeFirst = 250 * time.Millisecond
	probeLife  = 2 * time.Minute // the shortest that PCP recommends (RFC 6887 section 15)
	closeIn    = time.Second
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

	// Opened is the port that it opened for the trial, as it says; the zero value if it
	// opened none.
	Opened netip.AddrPort

	// Reached is whether a packet came in by that port.
	Reached bool
}

// DoubleNAT reports whether the router knows that nobody in the internet can send to it: it
// is not connected, or, where the internet can be reached, there is another NAT behind it.
func (r Report) DoubleNAT() bool { return r.External.IsValid() && !isPublic(r.External) }

// A Trial reports whether packets of strangers come in at a socket by a port of the router.
// It borrows the socket, and looks itself when it is to end.
type Trial func(at *net.UDPConn, port netip.AddrPort) bool

// Probe asks the router in all protocols at once. Each must answer within 250 ms; then
// there are 2 s for the rest. It has the router open a port to a socket of its own, by the
// best protocol by which it does, tries the port if it is at a public address, and closes
// it, also when ctx is done, within 1 s. Nothing that others opened is
// touched. An error says that there is no router to ask.
func Probe(ctx context.Context, trial Trial) (Report, error) {
	r, err := findRouter()
	if err != nil {
		return Report{}, err
	}
	return r.probe(ctx, trial)
}

func (r router) probe(ctx context.Context, trial Trial) (Report, error) {
	limited, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	finders := r.finders(newSeed())
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
	for _, f := range found {
		if opened, reached := r.try(limited, f.service, trial); opened.IsValid() {
			report.External, report.Opened, report.Reached = opened.Addr(), opened, reached
			break
		}
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return report, nil
}

// try has the router open a port, tries it, and closes it. The port is invalid if the router
// opens none.
func (r router) try(ctx context.Context, s service, trial Trial) (opened netip.AddrPort, reached bool) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.local, 0)))
	if err != nil {
		return netip.AddrPort{}, false
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	granted, err := obtain(ctx, s, wish{port: port, external: netip.AddrPortFrom(netip.Addr{}, port), life: probeLife})
	if _, refused := errors.AsType[refusal](err); refused {
		return netip.AddrPort{}, false
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeIn)
		defer cancel()
		s.release(ctx, granted)
	}()
	if err != nil {
		return netip.AddrPort{}, false
	}
	return granted.external, isPublic(granted.external.Addr()) && trial(conn, granted.external)
}
