package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"
)

// Limits of a [Forwarder].
const (
	// maxPairs is how many sessions it forwards for.
	maxPairs = 1 << 16
	// forgetAfter is how long a session lives of whose ends nothing is heard.
	forgetAfter = time.Minute
	sweepEvery  = 15 * time.Second

	// graceFor is how long an end that is bound stays so after its grant has expired, from
	// where it is: tunnels go on while the signal server is away, which renews grants.
	graceFor = 12 * time.Hour

	// busyFor is how long after a packet a session counts as one that has something to
	// carry, maxQuestion the size of those that do not count.
	busyFor     = 30 * time.Second
	maxQuestion = 16

	// cookieLife is how long a cookie is good for at least.
	cookieLife = 2 * time.Minute
)

// A Forwarder knows to which two addresses the packets of each session go. It is pure
// and belongs to one goroutine. Nothing leaves it but for an address that has proven a
// grant, and only what came from the other one of the same session.
type Forwarder struct {
	key    Key
	bakery [32]byte // makes cookies
	pairs  map[uint64]*pair
	swept  time.Time
	meter  meter
}

// A pair is the two ends of a session.
type pair struct {
	ends    [2]netip.AddrPort // invalid: not bound
	heard   time.Time         // a packet or request of either end
	carried time.Time         // a packet that is no question whether the other end is there

	limits Limits
	spent  float64 // bytes that the rate owes as of paidAt
	paidAt time.Time
	used   uint64 // bytes
	until  uint32 // Unix seconds: what was used of a quota is remembered so long
}

// NewForwarder returns a forwarder for the grants of key.
func NewForwarder(key Key) *Forwarder {
	f := &Forwarder{key: key, pairs: make(map[uint64]*pair)}
	rand.Read(f.bakery[:]) // never fails since Go 1.24
	return f
}

// Len returns how many sessions there are.
func (f *Forwarder) Len() int { return len(f.pairs) }

// Load returns what it has to do. Its capacity is for the caller to say.
func (f *Forwarder) Load(now time.Time) Load {
	busy := 0 // sessions have places at several relays and use one
	for _, p := range f.pairs {
		if now.Sub(p.carried) < busyFor {
			busy++
		}
	}
	return Load{Sessions: uint32(busy), Rate: uint32(f.meter.look(now) * 8 / 1e6)}
}

// Knows reports whether from is an end of the session that a request is about: then it
// is no stranger.
func (f *Forwarder) Knows(packet []byte, from netip.AddrPort) bool {
	r, ok := parseRequest(packet)
	if !ok {
		return false
	}
	p := f.pairs[r.grant.Session]
	return p != nil && p.ends[r.grant.End] == from
}

// Bind carries out a request that came from an address, and appends the answer to dst.
// It reports false for what deserves none.
func (f *Forwarder) Bind(dst, packet []byte, from netip.AddrPort, now time.Time) ([]byte, bool) {
	r, ok := parseRequest(packet)
	if !ok || !r.genuine(f.key.secret(r.grant)) {
		return dst, false
	}
	a := answer{session: r.grant.Session, nonce: r.nonce}
	epoch := uint64(now.Unix()) / uint64(cookieLife/time.Second)
	fresh := f.cookie(from, epoch)
	p := f.pairs[r.grant.Session]
	known := p != nil && p.ends[r.grant.End] == from // it has proven itself before
	switch {
	case !known && !same(r.cookie, fresh) && !same(r.cookie, f.cookie(from, epoch-1)):
		a.status, a.cookie = statusChallenge, fresh
	case now.Unix() > int64(r.grant.Until) && !(known && now.Unix() <= int64(r.grant.Until)+int64(graceFor/time.Second)):
		a.status = statusRefused
	default:
		a.status = f.admit(r.grant, from, now)
	}
	return a.append(dst), true
}

// admit binds an end.
func (f *Forwarder) admit(g Grant, from netip.AddrPort, now time.Time) status {
	p := f.pairs[g.Session]
	if p == nil {
		if len(f.pairs) >= maxPairs {
			return statusFull
		}
		p = &pair{limits: g.Limits, paidAt: now}
		f.pairs[g.Session] = p
	}
	if p.exhausted() {
		return statusRefused
	}
	if p.ends[1-g.End] == from {
		p.ends[1-g.End] = netip.AddrPort{} // nobody talks with himself
	}
	p.ends[g.End], p.heard, p.until = from, now, max(p.until, g.Until)
	return statusBound
}

// Forward returns where packets of a session go, so many bytes in all, that came from an
// address. It reports false if they go nowhere.
func (f *Forwarder) Forward(session uint64, from netip.AddrPort, bytes int, now time.Time) (to netip.AddrPort, ok bool) {
	p := f.pairs[session]
	if p == nil {
		return netip.AddrPort{}, false
	}
	switch from {
	case p.ends[0]:
		to = p.ends[1]
	case p.ends[1]:
		to = p.ends[0]
	default:
		return netip.AddrPort{}, false
	}
	if !to.IsValid() || !p.pay(bytes, now) {
		return netip.AddrPort{}, false
	}
	p.heard = now
	if bytes > HeaderSize+maxQuestion {
		p.carried = now
	}
	f.meter.count(bytes, now)
	return to, true
}

// pay reports whether the limits leave room for so many bytes, and takes it.
func (p *pair) pay(bytes int, now time.Time) bool {
	if p.exhausted() {
		return false
	}
	if rate := float64(p.limits.Rate) * 1024; rate > 0 {
		burst := max(rate/4, 64<<10) // a quarter of a second
		p.spent = max(0, p.spent-now.Sub(p.paidAt).Seconds()*rate)
		p.paidAt = now
		if p.spent+float64(bytes) > burst {
			return false
		}
		p.spent += float64(bytes)
	}
	p.used += uint64(bytes)
	return true
}

// exhausted reports whether the quota is used up.
func (p *pair) exhausted() bool { return p.limits.Quota > 0 && p.used >= uint64(p.limits.Quota)<<20 }

// Sweep forgets the sessions that have been silent, if it is time to look.
func (f *Forwarder) Sweep(now time.Time) {
	if now.Sub(f.swept) < sweepEvery {
		return
	}
	f.swept = now
	for id, p := range f.pairs {
		since := now.Sub(time.Unix(int64(p.until), 0)) // its grants have expired
		// What was used of a quota is remembered for as long as a grant could spend more.
		silent := now.Sub(p.heard) >= forgetAfter && (p.limits.Quota == 0 || since > forgetAfter)
		if silent || since > graceFor+forgetAfter {
			delete(f.pairs, id)
		}
	}
}

// cookie returns what only who receives at an address is told, in one epoch.
func (f *Forwarder) cookie(addr netip.AddrPort, epoch uint64) (cookie [cookieSize]byte) {
	mac := hmac.New(sha256.New, f.bakery[:])
	ip := addr.Addr().As16()
	mac.Write(ip[:])
	var rest [10]byte
	binary.BigEndian.PutUint16(rest[:], addr.Port())
	binary.BigEndian.PutUint64(rest[2:], epoch)
	mac.Write(rest[:])
	copy(cookie[:], mac.Sum(nil))
	return cookie
}

func same(a, b [cookieSize]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
