package relay

import (
	"crypto/rand"
	"time"
)

// A Binding is a peer's side of its place at a relay on UDP: it says when to send what,
// and what the answers mean. It is pure and belongs to one goroutine.
type Binding struct {
	grant  Grant
	nonce  [nonceSize]byte
	cookie [cookieSize]byte

	bound bool
	void  bool      // the grant was refused
	spent time.Time // until then the quota is used up; zero: it is not
	sent  int       // requests since the last answer

	challenged int       // times in a row
	sentAt     time.Time // the last of those
	firstAt    time.Time // the first of those
	nextAt     time.Time
	rtt        time.Duration
}

const (
	// firstRetry doubles with each request that is not answered, to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second

	// refreshEvery keeps the mappings of NATs alive, some of which forget after 15 s,
	// and finds out when one has changed.
	refreshEvery = 10 * time.Second

	// unboundAfter requests without an answer a bound end is bound no more.
	unboundAfter = 5
)

// NewBinding returns a binding that wants to be asked for a request at once.
func NewBinding(g Grant) *Binding {
	b := &Binding{grant: g}
	rand.Read(b.nonce[:]) // never fails since Go 1.24
	return b
}

// Renew replaces the grant by a fresh one.
func (b *Binding) Renew(g Grant) {
	raised := g.Limits != b.grant.Limits && !b.spent.IsZero()
	b.grant = g
	if b.void || raised {
		b.void, b.challenged, b.nextAt = false, 0, time.Time{}
	}
}

// Hurry makes the next request due at once: the network has changed, or packets do not
// arrive.
func (b *Binding) Hurry() { b.sent, b.challenged, b.nextAt = 0, 0, time.Time{} }

// Bound reports whether the relay forwards for this end, as far as is known.
func (b *Binding) Bound() bool { return b.bound }

// Unanswered returns how many requests there were since the last answer.
func (b *Binding) Unanswered() int { return b.sent }

// Spent returns until when the quota of the two peers is used up, as far as is known, or the
// zero time.
func (b *Binding) Spent() time.Time { return b.spent }

// Tick returns a request to send now, or nil.
func (b *Binding) Tick(now time.Time) []byte {
	if b.void || now.Before(b.nextAt) {
		return nil
	}
	if b.sent >= unboundAfter {
		b.bound = false
	}
	if b.sent == 0 {
		rand.Read(b.nonce[:])
	}
	b.nextAt = now.Add(min(firstRetry<<min(b.sent, 16), lastRetry))
	b.sent++
	return appendRequest(nil, b.grant, b.nonce, b.cookie)
}

// Hear takes what [IsAnswer] accepts, from the relay. It reports whether the answer is
// one to this binding.
func (b *Binding) Hear(now time.Time, packet []byte) bool {
	a, ok := parseAnswer(packet)
	if !ok || a.session != b.grant.Session || a.nonce != b.nonce || b.sent == 0 && a.status != statusSpent {
		return false
	}
	b.sent = 0
	switch a.status {
	case statusBound:
		b.bound, b.challenged, b.nextAt = true, 0, now.Add(refreshEvery)
		b.spent = time.Time{}
	case statusSpent:
		b.bound, b.spent = false, now.Add(a.left())
		b.nextAt = now.Add(max(a.left(), lastRetry))
	case statusChallenge:
		b.bound, b.cookie, b.nextAt = false, a.cookie, now
		if b.challenged++; b.challenged > 1 { // it does not know us again: not at its speed
			b.nextAt = now.Add(min(firstRetry<<min(b.challenged, 16), lastRetry))
		}
	case statusRefused:
		b.bound, b.void = false, true
	default:
		b.bound, b.nextAt = false, now.Add(lastRetry)
	}
	return true
}
