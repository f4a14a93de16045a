package server

import (
	"net/netip"
	"sync"
	"time"
)

// What one peer may do.
const (
	requestsPerSecond = 10
	requestBurst      = 50
	bindsPerSecond    = 100
	bindBurst         = 2048      // all binds of a peer that comes back
	relayPerSecond    = 512 << 20 // bytes; more than a machine relays, so that one peer is not all
	relayBurst        = 256 << 20
	minRelayBurst     = 64 << 10 // of a rate that was set
	maxMailboxes      = 16       // of one peer: open, or remembered
)

// What one address may get wrong.
const (
	wrongCodes   = 5
	firstPenalty = time.Minute
	maxPenalty   = 10 * time.Minute
	maxOffenders = 1 << 16
)

// A bucket holds tokens that come back at a rate. The zero value is full.
type bucket struct {
	spent float64 // tokens that are missing as of at
	at    time.Time
}

// take takes n tokens. If there are not enough it takes none, and returns how
// long to wait.
func (b *bucket) take(n, perSecond, burst float64, now time.Time) (wait time.Duration, ok bool) {
	elapsed := max(0, now.Sub(b.at)) // the clock may have been set back
	b.spent = max(0, b.spent-elapsed.Seconds()*perSecond)
	b.at = now
	if over := b.spent + n - burst; over > 0 {
		return time.Duration(over / perSecond * float64(time.Second)), false
	}
	b.spent += n
	return 0, true
}

// A lobby bounds the handshakes under way, in all and of one address, so that
// nobody alone keeps all others out. The zero value is empty.
type lobby struct {
	mu     sync.Mutex
	all    int
	guests map[netip.Addr]int
}

// enter takes a place if there is one.
func (l *lobby) enter(from netip.Addr) bool {
	from = offenderKey(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxHandshakes || l.guests[from] >= maxOfOneAddress {
		return false
	}
	if l.guests == nil {
		l.guests = make(map[netip.Addr]int)
	}
	l.all++
	l.guests[from]++
	return true
}

// leave gives a place back.
func (l *lobby) leave(from netip.Addr) {
	from = offenderKey(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.guests[from]--; l.guests[from] == 0 {
		delete(l.guests, from)
	}
}

// offenders counts wrong pairing codes by address: an IPv4 address, or the /64
// of an IPv6 address. It is not safe for concurrent use.
type offenders map[netip.Addr]offender

type offender struct {
	wrong   int
	until   time.Time     // no tries before
	penalty time.Duration // the next one
	seen    time.Time
}

func offenderKey(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		return prefix.Addr()
	}
	return addr
}

// wait returns how long an address must wait before it may try a code.
func (o offenders) wait(addr netip.Addr, now time.Time) time.Duration {
	return max(0, o[offenderKey(addr)].until.Sub(now))
}

// wrong notes a wrong code.
func (o offenders) wrong(addr netip.Addr, now time.Time) {
	key := offenderKey(addr)
	if _, known := o[key]; !known && len(o) >= maxOffenders {
		return // an attacker with that many addresses is stopped by the length of codes alone
	}
	e := o[key]
	e.seen = now
	if e.wrong++; e.wrong >= wrongCodes {
		e.penalty = min(max(2*e.penalty, firstPenalty), maxPenalty)
		e.until = now.Add(e.penalty)
		e.wrong = wrongCodes - 1 // after the wait, one more try
	}
	o[key] = e
}

// sweep forgives who has been quiet for long.
func (o offenders) sweep(now time.Time) {
	for key, e := range o {
		if now.Sub(e.seen) > 2*maxPenalty {
			delete(o, key)
		}
	}
}
