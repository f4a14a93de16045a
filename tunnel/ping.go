package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"peerway/signal"
	"peerway/tunnel/path"
)

// A Pong is what came of asking a peer whether it is there.
type Pong struct {
	Path   string         // as in [Info]
	Remote netip.AddrPort // as in [Info]
	RTT    time.Duration  // over the tunnel, as a stream would find it

	// Why there is no direct path, in words for people, as each of the two found out last.
	// Empty: there is one, or nothing is known yet. The peer's own is not to be trusted.
	Why, PeerWhy string

	// Why a tunnel that is on the websocket is not on a relay on UDP; empty: it is, or that is
	// not known yet.
	Hitch Hitch

	Limits, PeerLimits Limits // of this end, and of the peer as it says
}

// maxPings bounds the questions of one tunnel that wait for their answers.
const maxPings = 64

// Ping asks a peer whether it is there, over the tunnel with it, which is made if there is
// none. Errors are those of [Manager.DialContext].
func (m *Manager) Ping(ctx context.Context, peer signal.PeerID) (Pong, error) {
	var err error
	for range 4 { // as DialContext
		var s *session
		if s, err = m.session(ctx, peer); err != nil {
			break
		}
		var p Pong
		if p, err = s.ping(ctx); err == nil {
			return p, nil
		}
		if s.conn.Context().Err() == nil {
			break
		}
		select { // the next tunnel, or that there is none, says whether the peer is there
		case <-s.retired:
		case <-ctx.Done():
			return Pong{}, fmt.Errorf("tunnel: ping %s: %w", peer.Short(), context.Cause(ctx))
		}
	}
	return Pong{}, fmt.Errorf("tunnel: ping %s: %w", peer.Short(), err)
}

// ping asks over a tunnel that is up.
func (s *session) ping(ctx context.Context) (Pong, error) {
	nonce, answer, err := s.expectPong()
	if err != nil {
		return Pong{}, err
	}
	defer s.forgetPong(nonce)
	begun := time.Now()
	s.control.send(message{Kind: pingAsk, Nonce: nonce})
	select {
	case why := <-answer:
		where := s.whereNow()
		name, remote := s.reached(where)
		p := Pong{Path: string(name), Remote: remote, RTT: time.Since(begun), Hitch: s.hitched(name)}
		p.Limits, p.PeerLimits = s.limits(where)
		if name != path.Direct {
			p.Why, p.PeerWhy = s.reason(), why
		}
		return p, nil
	case <-s.conn.Context().Done():
		return Pong{}, lost(context.Cause(s.conn.Context()))
	case <-ctx.Done():
		return Pong{}, context.Cause(ctx)
	}
}

// expectPong returns the number of a question and where its answer will be told.
func (s *session) expectPong() (nonce uint64, answer <-chan string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pongs) >= maxPings {
		return 0, nil, fmt.Errorf("more than %d questions wait for an answer", maxPings)
	}
	if s.pongs == nil {
		s.pongs = make(map[uint64]chan string)
	}
	nonce, told := randomSession(), make(chan string, 1)
	s.pongs[nonce] = told
	return nonce, told, nil
}

func (s *session) forgetPong(nonce uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pongs, nonce)
}

// heardPong tells who waits for the answer.
func (s *session) heardPong(msg message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if told := s.pongs[msg.Nonce]; told != nil {
		delete(s.pongs, msg.Nonce)
		told <- msg.Why
	}
}

// answerPing answers a question of the peer.
func (s *session) answerPing(msg message) {
	s.control.send(message{Kind: pingPong, Nonce: msg.Nonce, Why: s.reason()})
}

// reason says why there is no direct path, as far as is known.
func (s *session) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// setReason records why an attempt at a direct path brought nothing; empty: it did.
func (s *session) setReason(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why[:min(len(why), maxWhy)]
}
