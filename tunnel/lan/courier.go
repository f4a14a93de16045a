package lan

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	// ErrSilent: somebody claims to be the peer there, but has not opened the message.
	ErrSilent = errors.New("the peer does not answer in the local network")
)

const (
	// A letter is repeated until it is acknowledged: after firstPause, and then after
	// twice as long each time.
	firstPause = 50 * time.Millisecond
	deliverIn  = 2 * time.Second

	// Opening a letter costs about 150 µs.
	openRate  = 20 // a second
	openBurst = 20

	maxQueue  = 16 // letters that wait to be opened
	maxOpened = 64 // letters that are known when they come again
)

// A courier carries letters between path sockets. It is told where to.
type courier struct {
	identity signal.Identity
	write    func(packet []byte, to netip.AddrPort) error
	local    func(netip.AddrPort) (netip.AddrPort, bool)
	allowed  func(signal.PeerID) bool
	take     func(from signal.PeerID, message []byte, at netip.AddrPort)
	log      *slog.Logger

	queue chan letter

	mu      sync.Mutex
	waiting map[proof]chan<- netip.AddrPort // for acknowledgements
}

// A letter is one that has arrived.
type letter struct {
	from   signal.PeerID // a claim
	sealed []byte
	at     netip.AddrPort
}

// deliver takes what has come to the path socket. It borrows packet and does not block.
func (c *courier) deliver(packet []byte, at netip.AddrPort) {
	at, ok := c.local(at)
	if !ok {
		return
	}
	if p, ok := parseAck(packet); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if acked, ok := c.waiting[p]; ok {
			select {
			case acked <- at:
			default: // one will do
			}
		}
		return
	}
	from, sealed, ok := parseLetter(packet, c.identity.PeerID())
	if !ok || !c.allowed(from) {
		return
	}
	select {
	case c.queue <- letter{from, bytes.Clone(sealed), at}:
	default: // it comes again
	}
}

// run opens letters until ctx is done.
func (c *courier) run(ctx context.Context) {
	var known openedLetters
	limit := rate.NewLimiter(openRate, openBurst)
	for {
		select {
		case l := <-c.queue:
			c.open(l, &known, limit)
		case <-ctx.Done():
			return
		}
	}
}

// open opens a letter that is new, and acknowledges it if it is genuine.
func (c *courier) open(l letter, known *openedLetters, limit *rate.Limiter) {
	sum := sha256.Sum256(l.sealed)
	p, ok := known.find(sum)
	if !ok {
		if !limit.AllowN(time.Now(), 1) {
			return
		}
		message, err := c.identity.Open(l.from, l.sealed)
		if err != nil {
			c.log.Debug("letter dropped", "peer", l.from, "remote", l.at, "err", err)
			return
		}
		p = proofOf(message)
		known.add(sum, p)
		c.take(l.from, message, l.at)
	}
	c.write(appendAck(nil, p), l.at) // an error is a lost packet
}

// openedLetters are the letters that were opened last, so that one that comes again costs little.
type openedLetters struct {
	letters []openedLetter // oldest first
}

type openedLetter struct {
	sum [sha256.Size]byte
	proof
}

func (o *openedLetters) find(sum [sha256.Size]byte) (proof, bool) {
	for _, l := range o.letters {
		if l.sum == sum {
			return l.proof, true
		}
	}
	return proof{}, false
}

func (o *openedLetters) add(sum [sha256.Size]byte, p proof) {
	if len(o.letters) == maxOpened {
		o.letters = slices.Delete(o.letters, 0, 1)
	}
	o.letters = append(o.letters, openedLetter{sum, p})
}

// send brings a message to a peer that is at one of some places, which come one after the
// other until the channel is closed. It returns the place from which the peer acknowledged
// it, or fails with [ErrNobody] or [ErrSilent], or the cause of ctx.
func (c *courier) send(ctx context.Context, to signal.PeerID, message []byte, places <-chan netip.AddrPort) (netip.AddrPort, error) {
	if len(message) > MaxMessage {
		return netip.AddrPort{}, fmt.Errorf("lan: message of %d bytes, at most %d", len(message), MaxMessage)
	}
	sealed, err := c.identity.Seal(to, message)
	if err != nil {
		return netip.AddrPort{}, err
	}
	packet := appendLetter(nil, c.identity.PeerID(), to, sealed)
	acked, p := make(chan netip.AddrPort, maxPlaces), proofOf(message)
	c.expect(p, acked)
	defer c.expect(p, nil)

	var known []netip.AddrPort
	pause := firstPause
	again := time.NewTimer(pause)
	defer again.Stop()
	end := time.NewTimer(deliverIn)
	defer end.Stop()
	for {
		select {
		case at := <-acked:
			if slices.Contains(known, at) {
				return at, nil
			}
		case at, more := <-places:
			switch {
			case more:
				if at, ok := c.local(at); ok {
					known = append(known, at)
					c.write(packet, at) // an error is a lost packet
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
				c.write(packet, at)
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

// expect makes acked receive where an acknowledgement comes from; nil ends that.
func (c *courier) expect(p proof, acked chan<- netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if acked == nil {
		delete(c.waiting, p)
		return
	}
	c.waiting[p] = acked
}
