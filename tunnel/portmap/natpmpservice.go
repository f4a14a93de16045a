package portmap

import (
	"context"
	"net/netip"
	"time"
)

// A natpmpService is a router that speaks NAT-PMP.
type natpmpService struct {
	router router
	clock  epoch
}

func (s *natpmpService) protocol() Protocol { return NATPMP }

// address asks for the external address, and whether the mappings are lost.
func (s *natpmpService) address(ctx context.Context) (external netip.Addr, lost bool, err error) {
	r, err := s.ask(ctx, askNATPMPAddress(), func(r natpmpReply) bool { return r.opcode == natpmpAddress })
	if err != nil {
		return netip.Addr{}, false, err
	}
	return r.external, s.clock.advance(r.epoch, time.Now()), nil
}

func (s *natpmpService) lease(ctx context.Context, w wish) (lease, error) {
	// First, for a router that has no address is not to be left with a mapping.
	external, _, err := s.address(ctx)
	if err != nil {
		return lease{}, err
	}
	packet := askNATPMPMapping(w.port, w.external.Port(), uint32(w.life/time.Second))
	r, err := s.ask(ctx, packet, func(r natpmpReply) bool {
		return r.opcode == natpmpMapUDP && (r.result != 0 || r.port == w.port)
	})
	if err != nil {
		return lease{}, err
	}
	s.clock.advance(r.epoch, time.Now())
	return lease{w.port, netip.AddrPortFrom(external, r.externalPort), seconds(r.life)}, nil
}

func (s *natpmpService) check(ctx context.Context, l lease) error {
	external, lost, err := s.address(ctx)
	if err == nil && (lost || external != l.external.Addr()) {
		return errLost
	}
	return err
}

func (s *natpmpService) release(ctx context.Context, l lease) error {
	_, err := s.ask(ctx, askNATPMPMapping(l.port, 0, 0), func(r natpmpReply) bool {
		return r.opcode == natpmpMapUDP && (r.result != 0 || r.port == l.port)
	})
	return err
}

// ask sends a packet until there is an answer that fits.
func (s *natpmpService) ask(ctx context.Context, packet []byte, fits func(natpmpReply) bool) (natpmpReply, error) {
	return exchange(ctx, s.router.local, s.router.gateway, packet, func(answer []byte) (natpmpReply, error) {
		r, err := parseNATPMP(answer)
		switch {
		case err != nil:
			return r, err
		case r.result == natpmpBadVersion: // whatever the opcode says
		case !fits(r):
			return r, errStray
		}
		if r.result != 0 {
			return r, refusal{NATPMP, int(r.result)}
		}
		return r, nil
	})
}
