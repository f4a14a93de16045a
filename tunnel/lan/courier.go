package lan

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// Errors that callers branch on.
var (
	// ErrNobody: no answer came from the local networks.
	ErrNobody = errors.New("the peer is not in the local network")
	// ErrSilent: the peer was found there, but does not acknowledge the message.
	ErrSilent = errors.New("the peer does not answer in the local network")
)

const (
	// A letter is repeated until it is acknowledged: after firstPause, and then after
	// twice as long each time.
	firstPause = 50 * time.Millisecond
	deliverIn  = 2 * time.Second

	// What all peers together can make this one open.
	openRateAll  = 50 // letters a second
	openBurstAll = 50

	maxQueue = 64 // letters that wait to be opened, and replies that wait to be sent
)

// A courier carries letters between path sockets. It is told where to.
type courier struct {
	identity signal.Identity
	peers    *correspondents
	write    func(packet []byte, to netip.AddrPort) error
	local    func(netip.AddrPort) (netip.AddrPort, bool)
	allowed  func(signal.PeerID) bool
	take     func(from signal.PeerID, message []byte, at netip.AddrPort)
	log      *slog.Logger

	baker    baker
	openings *rate.Limiter // for all peers
	queue    chan arrival  // to be opened
	out      chan reply    // to be sent

	mu      sync.Mutex
	replies replies
	waiting map[tag]*sending // for acknowledgements by their proof, for challenges by the number of the letter
}

// An arrival is a letter that is genuine and has a cookie. It owns its bytes.
type arrival struct {
	letter
	peer *correspondent
	at   netip.AddrPort
}

// A reply is a packet that says what has become of a letter.
type reply struct {
	packet []byte
	to     netip.AddrPort
}

// A sending is a letter that nobody has acknowledged yet.
type sending struct {
	peer  *correspondent
	proof tag
	told  chan told // by the peer
}

// A told is that the letter was opened at a place, or that it should have another cookie.
type told struct {
	at    netip.AddrPort
	acked bool
}

func newCourier(cfg Config, peers *correspondents, local func(netip.AddrPort) (netip.AddrPort, bool)) *courier {
	c := &courier{
		identity: cfg.Identity, peers: peers, write: cfg.Write, local: local, allowed: cfg.Allowed, take: cfg.Take, log: cfg.Log,
		baker:    baker{begun: time.Now()},
		openings: rate.NewLimiter(openRateAll, openBurstAll),
		queue:    make(chan arrival, maxQueue),
		out:      make(chan reply, maxQueue),
		waiting:  make(map[tag]*sending),
	}
	rand.Read(c.baker.secret[:]) // never fails since Go 1.24
	return c
}

// deliver takes what has come to the path socket. It borrows packet and does not block.
func (c *courier) deliver(packet []byte, at netip.AddrPort) {
	at, ok := c.local(at)
	if !ok {
		return
	}
	if proof, ok := parseAck(packet); ok {
		c.tell(proof, told{at, true})
		return
	}
	if ch, ok := parseChallenge(packet); ok {
		c.challenged(ch, at)
		return
	}
	l, ok := parseLetter(packet, c.identity.PeerID())
	if !ok || !c.allowed(l.from) {
		return
	}
	peer, err := c.peers.of(l.from)
	if err == nil && l.tag.equal(l.tagBy(&peer.in)) {
		c.sort(arrival{l, peer, at})
	}
}

// sort decides what becomes of a letter that is genuine: one that is known is acknowledged
// again, one whose cookie is not good is answered with a good one, and others are opened.
func (c *courier) sort(a arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.baker.isGood(a.cookie, a.from, a.at) {
		ch := challenge{id: a.id(), cookie: c.baker.bake(a.from, a.at)}
		ch.tag = ch.tagBy(&a.peer.out)
		c.reply(&a, ch.append(nil))
		return
	}
	if proof, ok := a.peer.wasOpened(a.id()); ok {
		if proof != (tag{}) {
			c.reply(&a, appendAck(nil, proof))
		}
		return
	}
	now := time.Now()
	if len(c.queue) == cap(c.queue) || !a.peer.openings.AllowN(now, 1) || !c.openings.AllowN(now, 1) {
		return // it comes again
	}
	a.peer.willOpen(a.id())
	a.sealed = bytes.Clone(a.sealed)
	c.queue <- a // where there is room: nobody else holds c.mu
}

// reply sends what a letter deserves, soon. c.mu is held.
func (c *courier) reply(a *arrival, packet []byte) {
	if !c.replies.allow(a.id(), c.baker.batch()) {
		return
	}
	select {
	case c.out <- reply{packet, a.at}:
	default: // it comes again
	}
}

// challenged takes a cookie for a letter that is on its way.
func (c *courier) challenged(ch challenge, at netip.AddrPort) {
	c.mu.Lock()
	s, ok := c.waiting[ch.id]
	c.mu.Unlock()
	if ok && ch.tag.equal(ch.tagBy(&s.peer.in)) && s.peer.hold(held{at, ch.cookie}) {
		c.tell(ch.id, told{at, false})
	}
}

// tell tells who waits for it.
func (c *courier) tell(of tag, t told) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.waiting[of]; ok && t.acked == (of == s.proof) {
		select {
		case s.told <- t:
		default: // one of each will do
		}
	}
}

// run opens letters and sends replies until ctx is done.
func (c *courier) run(ctx context.Context) {
	for {
		select {
		case a := <-c.queue:
			c.open(a)
		case r := <-c.out:
			c.write(r.packet, r.to) // an error is a lost packet
		case <-ctx.Done():
			return
		}
	}
}

// open opens a letter, hands over what is in it, and acknowledges it.
func (c *courier) open(a arrival) {
	message, err := c.identity.Open(a.from, a.sealed)
	if err != nil {
		c.log.Debug("letter dropped", "peer", a.from, "remote", a.at, "err", err)
		return
	}
	proof := proofOf(message)
	a.peer.hasOpened(a.id(), proof)
	c.take(a.from, message, a.at)
	c.write(appendAck(nil, proof), a.at) // an error is a lost packet
}

// send brings a message to a peer that is at one of some places, which come one after the
// other until the channel is closed. It returns the place from which the peer acknowledged
// it, or fails with [ErrNobody] or [ErrSilent], or the cause of ctx.
func (c *courier) send(ctx context.Context, to signal.PeerID, message []byte, places <-chan netip.AddrPort) (netip.AddrPort, error) {
	if len(message) > MaxMessage {
		return netip.AddrPort{}, fmt.Errorf("lan: message of %d bytes, at most %d", len(message), MaxMessage)
	}
	peer, err := c.peers.of(to)
	if err != nil {
		return netip.AddrPort{}, err
	}
	sealed, err := c.identity.Seal(to, message)
	if err != nil {
		return netip.AddrPort{}, err
	}
	l := letter{from: c.identity.PeerID(), sealed: sealed}
	s := &sending{peer: peer, proof: proofOf(message), told: make(chan told, 2*maxPlaces)}
	defer c.expect(l.id(), s)()

	write := func(at netip.AddrPort) {
		l.cookie = peer.cookie(at)
		l.tag = l.tagBy(&peer.out)
		c.write(l.append(nil, to), at) // an error is a lost packet
	}
	return s.await(ctx, places, c.local, write)
}

// await writes the letter to all places, again and again, until the peer has acknowledged it
// at one of them.
func (s *sending) await(ctx context.Context, places <-chan netip.AddrPort, local func(netip.AddrPort) (netip.AddrPort, bool), write func(netip.AddrPort)) (netip.AddrPort, error) {
	var known []netip.AddrPort
	pause := firstPause
	again := time.NewTimer(pause)
	defer again.Stop()
	end := time.NewTimer(deliverIn)
	defer end.Stop()
	for {
		select {
		case t := <-s.told:
			switch {
			case !slices.Contains(known, t.at): // it was not sent there
			case t.acked:
				return t.at, nil
			default:
				write(t.at)
			}
		case at, more := <-places:
			switch {
			case more:
				if at, ok := local(at); ok {
					known = append(known, at)
					write(at)
				}
			case ctx.Err() != nil: // which ends the search as well
				return netip.AddrPort{}, context.Cause(ctx)
			case len(known) == 0:
				return netip.AddrPort{}, ErrNobody
			default:
				places = nil
			}
		case <-again.C:
			for _, at := range known {
				write(at)
			}
			if len(known) > 0 {
				pause *= 2
			}
			again.Reset(pause)
		case <-end.C:
			return netip.AddrPort{}, ErrSilent
		case <-ctx.Done():
			return netip.AddrPort{}, context.Cause(ctx)
		}
	}
}

// expect makes what is told of a letter reach s, until the function that it returns is called.
func (c *courier) expect(id tag, s *sending) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[id], c.waiting[s.proof] = s, s
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
		delete(c.waiting, s.proof)
	}
}
