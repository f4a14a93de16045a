package portmap

import (
	"context"
	"errors"
	"time"
)

// A pcpService is a router that speaks PCP.
type pcpService struct {
	router router
	nonce  nonce
	clock  epoch
}

func (s *pcpService) protocol() Protocol { return PCP }

// announce asks for nothing but the clock of the router. One that cannot be asked that way
// shows it, too.
func (s *pcpService) announce(ctx context.Context) (lost bool, err error) {
	r, err := s.ask(ctx, announcePCP(s.router.local), func(r pcpReply) bool { return r.opcode == pcpAnnounce })
	if errors.Is(err, refusal{PCP, pcpBadOpcode}) {
		err = nil
	}
	return err == nil && s.clock.advance(r.epoch, time.Now()), err
}

func (s *pcpService) lease(ctx context.Context, w wish) (lease, error) {
	q := pcpQuestion{s.router.local, s.nonce, w.port, w.external, uint32(w.life / time.Second)}
	r, err := s.ask(ctx, q.packet(), func(r pcpReply) bool { return r.answers(q) })
	if err != nil {
		return lease{}, err
	}
	s.clock.advance(r.epoch, time.Now())
	return lease{w.port, r.external, seconds(r.life)}, nil
}

func (s *pcpService) check(ctx context.Context, l lease) error {
	lost, err := s.announce(ctx)
	if err != nil {
		return err
	}
	// A router whose external address is another one sets its clock back, too (section
	// 8.5), but may not count the first that it ever gets. Only a mapping tells it.
	if lost || !isPublic(l.external.Addr()) {
		return errLost
	}
	return nil
}

func (s *pcpService) release(ctx context.Context, l lease) error {
	q := pcpQuestion{local: s.router.local, nonce: s.nonce, port: l.port}
	_, err := s.ask(ctx, q.packet(), func(r pcpReply) bool { return r.answers(q) })
	return err
}

// ask sends a packet until there is an answer that fits.
func (s *pcpService) ask(ctx context.Context, packet []byte, fits func(pcpReply) bool) (pcpReply, error) {
	return exchange(ctx, s.router.local, s.router.gateway, packet, func(answer []byte) (pcpReply, error) {
		r, err := parsePCP(answer)
		switch {
		case err != nil:
			return r, err
		case !fits(r):
			return r, errStray
		case r.result != 0:
			return r, refusal{PCP, int(r.result)}
		}
		return r, nil
	})
}

// seconds returns a life that a router granted. Whatever it says, RFC 6887 section 15 lets
// nobody believe more than a day.
func seconds(n uint32) time.Duration { return min(time.Duration(n)*time.Second, 24*time.Hour) }
