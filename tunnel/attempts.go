package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"peerway/tunnel/network"
	"peerway/tunnel/punch"
)

// A finder begins attempts at direct paths. It is the Manager.
type finder interface {
	attempt(ctx context.Context, config punch.AttemptConfig) (*punch.Attempt, error)
}

// A mapper knows who tells where this side can be reached, and asks. It is the Manager.
type mapper interface {
	stunServers() []netip.AddrPort
	mappedBy(ctx context.Context, a *punch.Attempt, server netip.AddrPort) (netip.AddrPort, error)
}

// attempts are those of a session at a direct path. The end that dialed numbers them, the
// other one follows. All of it belongs to the goroutine of climb.
type attempts struct {
	finder finder
	mapper mapper
	config punch.AttemptConfig // what is the same for each
	ctx    context.Context     // of this one climb
	tell   func(message)       // says something to the peer
	log    *slog.Logger

	number   uint32         // of the newest
	begunAt  time.Time      // that began
	failures uint32         // in a row
	asked    pace           // those that the peer has asked for
	trying   *punch.Attempt // not yet selected; nil if there is none
	chosen   *punch.Attempt // carries the direct path; nil if there is none
	mapped   chan mappedAddress

	asking sync.WaitGroup // STUN queries
}

// A mappedAddress is where the socket of an attempt can be reached.
type mappedAddress struct {
	attempt *punch.Attempt
	addr    netip.AddrPort
}

// newAttempts returns those of a session. The caller closes them, after ctx is done.
func newAttempts(ctx context.Context, s *session, tell func(message)) attempts {
	return attempts{
		finder: s.m, mapper: s.m, ctx: ctx, tell: tell, log: s.log,
		config: punch.AttemptConfig{Peer: s.peer, Controlling: s.role == dialing},
		mapped: make(chan mappedAddress, 4),
	}
}

func (t *attempts) close() {
	t.asking.Wait()
	for _, a := range []*punch.Attempt{t.trying, t.chosen} {
		if a != nil {
			a.Close()
		}
	}
}

// events returns the events of an attempt, or a channel that has none.
func events(a *punch.Attempt) <-chan punch.Event {
	if a == nil {
		return nil
	}
	return a.Events()
}

// advance goes to the number of the next attempt. Each third one after two that have failed is
// made from sockets of its own, which its number tells the peer.
func (t *attempts) advance() {
	own := t.failures%3 == 2
	for t.number++; isOwn(t.number) != own; t.number++ {
	}
}

func isOwn(number uint32) bool { return number%3 == 2 }

// begin replaces the attempt that is under way, and tells the peer of the new one with msg. One
// that cannot even start is one without candidates: the relay carries on.
func (t *attempts) begin(now time.Time, msg message) (ok bool) {
	t.begunAt = now
	t.drop()
	config := t.config
	config.Own = isOwn(t.number)
	var local punch.Description
	a, err := t.finder.attempt(t.ctx, config)
	if err != nil {
		t.log.Debug("no attempt at a direct path", "err", err)
	} else {
		t.trying, local = a, a.Local()
	}
	msg.Attempt, msg.Punch = t.number, &local
	t.tell(msg)
	t.query()
	return err == nil
}

// drop ends the attempt that is under way.
func (t *attempts) drop() {
	if t.trying != nil {
		t.trying.Close()
		t.trying = nil
	}
}

// query asks the signal server's STUN for our mapped addresses.
func (t *attempts) query() {
	if t.trying == nil {
		return
	}
	a := t.trying
	for _, server := range t.mapper.stunServers() {
		t.asking.Go(func() {
			addr, err := t.mapper.mappedBy(t.ctx, a, server)
			if err != nil {
				t.log.Debug("mapped address is unknown", "remote", server, "err", err)
				return
			}
			select {
			case t.mapped <- mappedAddress{a, addr}:
			case <-t.ctx.Done():
			}
		})
	}
}

// learned tells the peer of an address that was not in the description.
func (t *attempts) learned(mapped mappedAddress) {
	if t.trying == nil || t.trying != mapped.attempt {
		return
	}
	if more := t.trying.AddMapped(mapped.addr); len(more) > 0 {
		t.tellMore(more)
	}
}

// opened takes an address at which the shared socket was opened.
func (t *attempts) opened(addr netip.AddrPort) {
	if t.trying != nil && !t.trying.Own() {
		t.learned(mappedAddress{t.trying, addr})
	}
}

func (t *attempts) tellMore(more []string) {
	t.tell(message{Kind: candidates, Attempt: t.number, Candidates: more})
}

// learnedNAT tells the peer what has been found out about this side's NAT.
func (t *attempts) learnedNAT(nat network.NAT) {
	if t.trying != nil && t.trying.SetNAT(nat) {
		t.tell(message{Kind: candidates, Attempt: t.number, Hard: true, Delta: int8(nat.Delta)})
	}
}

// connect begins the checks of the attempt that is under way.
func (t *attempts) connect(remote punch.Description) {
	if t.trying == nil {
		return
	}
	if err := t.trying.Connect(remote); err != nil {
		t.log.Debug("attempt at a direct path", "err", err)
	}
}

// hearMore takes what the peer says of itself later on.
func (t *attempts) hearMore(msg message) {
	if t.trying == nil || msg.Attempt != t.number {
		return
	}
	if msg.Hard {
		t.trying.SetRemoteNAT(true, msg.Delta)
	}
	if err := t.trying.AddRemote(msg.Candidates); err != nil {
		t.log.Debug("candidates dropped", "err", err)
	}
}

// wanted reports whether to begin an attempt since the peer wishes it. It may have moved: what
// it said before is of no use. But both may just have come to want the same.
func (t *attempts) wanted(now time.Time) bool {
	recent := t.trying != nil && now.Sub(t.begunAt) < attemptEvery
	return !recent && t.asked.allow(now)
}

// choose makes the attempt that is under way the one whose path is used.
func (t *attempts) choose() {
	t.abandon()
	t.chosen, t.trying = t.trying, nil
}

// abandon ends the attempt whose path was used.
func (t *attempts) abandon() {
	if t.chosen != nil {
		t.chosen.Close()
		t.chosen = nil
	}
}

// failed ends the attempt that is under way, and counts it.
func (t *attempts) failed() {
	t.drop()
	t.failures++
}

// Attempts that a peer asks for cost it nothing and this end an ICE agent.
const (
	attemptsAtOnce = 8
	attemptEvery   = time.Second
)

// A pace lets attemptsAtOnce events pass at once and one every attemptEvery from
// then on.
type pace struct{ paidUntil time.Time }

func (p *pace) allow(now time.Time) bool {
	from := now
	if p.paidUntil.After(now) {
		from = p.paidUntil
	}
	if from.Sub(now) > (attemptsAtOnce-1)*attemptEvery {
		return false
	}
	p.paidUntil = from.Add(attemptEvery)
	return true
}
