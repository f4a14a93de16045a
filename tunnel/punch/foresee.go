package punch

import (
	"context"
	"net/netip"
	"time"

	"peerway/tunnel/network"
)

// Many NATs that give every destination another port give the next one: so many after the
// last. Such a port can be foreseen by who knows the last, and how many mappings the NAT
// makes until then, for this side and for whatever else is behind it. So each side asks a
// STUN server from a new socket which port it gets, and tells the peer at once.
//
// Where both NATs are so, a packet passes only from the foreseen port of the one to the
// foreseen port of the other, and one wrong guess on either side spoils all that follow if
// both simply send to one port after the other. So one side sends from many sockets to
// one port of the other, the port that the sixth mapping there will have. The other
// sends from its one socket to six ports in the middle of those that the many sockets
// get. Whichever of the six goes out by the sixth mapping is sent to one of the sockets,
// whatever else takes up to five mappings on the one side and up to 32 on the other. The
// side of the six measures last, and sends at once: it can afford fewer.
const (
	foreseenShots   = 6
	foreseenSockets = 64
	foreseenMiddle  = 32
	measureIn       = time.Second
	replyIn         = 2 * time.Second // from one measurement to the peer's
	foreseenFor     = 1200 * time.Millisecond
	shootAgain      = 200 * time.Millisecond // at the same ports: that takes no further mappings
	maxRounds       = 4
)

// A sequence is the addresses that a NAT gives.
type sequence struct {
	last netip.AddrPort
	step int // of the port
}

// at returns the n'th address after the last, or the zero value if there is none.
func (s sequence) at(n int) netip.AddrPort {
	port := int(s.last.Port()) + n*s.step
	if !s.last.IsValid() || s.step == 0 || port < 1 || port > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(s.last.Addr(), uint16(port))
}

// target returns where many sockets send, given the sequence of the other side.
func (s sequence) target() netip.AddrPort { return s.at(foreseenShots) }

// targets returns where the one socket sends, given the sequence of the side that has many.
func (s sequence) targets() (all []netip.AddrPort) {
	for i := range foreseenShots {
		if to := s.at(foreseenMiddle + i); to.IsValid() {
			all = append(all, to)
		}
	}
	return all
}

// measure finds out which address the NAT has just given, and has the peer told of it.
// It is a reply or begins a round.
func (a *Attempt) measure(working context.Context, server netip.AddrPort, round uint8, reply bool) error {
	ctx, cancel := context.WithTimeout(working, measureIn)
	defer cancel()
	last, err := network.NewMapping(ctx, server)
	if err != nil {
		return err
	}
	c := newCandidate(last, true, maxMapped)
	c.round, c.reply = round, reply
	select {
	case a.gathered <- []string{c.String()}:
		return nil
	case <-working.Done():
		return context.Cause(working)
	}
}

// reply waits for what the peer has measured in a round.
func (a *Attempt) reply(working context.Context, round uint8) (last netip.AddrPort, ok bool) {
	timeout := time.NewTimer(replyIn)
	defer timeout.Stop()
	for {
		if c := a.measuredBy(true); c.round == round {
			return c.addr, true
		}
		select {
		case <-a.news:
		case <-timeout.C:
			return netip.AddrPort{}, false
		case <-working.Done():
			return netip.AddrPort{}, false
		}
	}
}

// measuredBy returns the newest measurement of the peer that is a reply, or that begins a
// round; its round is 0 if there is none. The two are told apart since a peer may begin a
// round before it knows that it is to reply.
func (a *Attempt) measuredBy(reply bool) candidate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if reply {
		return a.replied
	}
	return a.called
}
