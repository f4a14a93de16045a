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
	usages usages[uint64]
	swept  time.Time
	meter  meter
}

// A pair is the two ends of a session.
type pair struct {
	ends    [2]berth
	heard   time.Time // a packet or request of either end
	carried time.Time // a packet that is no question whether the other end is there

	limits Limits
	usage  *usage // of the two peers, in all their sessions; nil: they have no limits
	until  uint32 // Unix seconds, of the newest grant
}

// A Line is how one end of a session is reached.
type Line struct {
	Remote netip.AddrPort
	Local  netip.Addr // of this host; invalid: not known
}

// A berth is where one end is bound.
type berth struct {
	Line                   // with an invalid address: nowhere
	nonce  [nonceSize]byte // of its last request
	toldAt time.Time       // that the quota is used up
}

// tellEvery is how often an end that sends all the same is told that the quota is used up.
const tellEvery = time.Second

// NewForwarder returns a forwarder for the grants of key.
func NewForwarder(key Key) *Forwarder {
	f := &Forwarder{key: key, pairs: make(map[uint64]*pair), usages: make(usages[uint64])}
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
	return p != nil && p.ends[r.grant.End].Remote == from
}

// Bind carries out a request that came from an address, and appends the answer to dst.
// It reports false for what deserves none.
func (f *Forwarder) Bind(dst, packet []byte, from Line, now time.Time) ([]byte, bool) {
	r, ok := parseRequest(packet)
	if !ok || !r.genuine(f.key.secret(r.grant)) {
		return dst, false
	}
	a := answer{session: r.grant.Session, nonce: r.nonce}
	epoch := uint64(now.Unix()) / uint64(cookieLife/time.Second)
	fresh := f.cookie(from.Remote, epoch)
	p := f.pairs[r.grant.Session]
	known := p != nil && p.ends[r.grant.End].Remote == from.Remote // it has proven itself before
	switch {
	case !known && !same(r.cookie, fresh) && !same(r.cookie, f.cookie(from.Remote, epoch-1)):
		a.status, a.cookie = statusChallenge, fresh
	case now.Unix() > int64(r.grant.Until) && !(known && now.Unix() <= int64(r.grant.Until)+int64(graceFor/time.Second)):
		a.status = statusRefused
	default:
		if a.status = f.admit(r.grant, berth{Line: from, nonce: r.nonce}, now); a.status == statusSpent {
			a = spentAnswer(a.session, a.nonce, untilTomorrow(now))
		}
	}
	return a.append(dst), true
}

// admit binds an end.
func (f *Forwarder) admit(g Grant, at berth, now time.Time) status {
	p := f.pairs[g.Session]
	if p == nil {
		if len(f.pairs) >= maxPairs {
			return statusFull
		}
		p = &pair{}
		f.pairs[g.Session] = p
	}
	f.charge(p, g, now)
	p.heard, p.until = now, max(p.until, g.Until)
	if p.spent(now) {
		return statusSpent
	}
	if p.ends[1-g.End].Remote == at.Remote {
		p.ends[1-g.End] = berth{} // nobody talks with himself
	}
	p.ends[g.End] = at
	return statusBound
}

// charge makes a session count for what the two peers of a grant use, within its limits.
func (f *Forwarder) charge(p *pair, g Grant, now time.Time) {
	before := p.usage
	if p.limits, p.usage = g.Limits, nil; p.limits != (Limits{}) {
		p.usage = f.usages.hold(g.Pair, now)
	}
	before.release()
}

// Forward returns where packets of a session go, so many bytes in all, that came from an
// address. It reports false if they go nowhere.
func (f *Forwarder) Forward(session uint64, from netip.AddrPort, bytes int, now time.Time) (to Line, ok bool) {
	p := f.pairs[session]
	if p == nil {
		return Line{}, false
	}
	switch from {
	case p.ends[0].Remote:
		to = p.ends[1].Line
	case p.ends[1].Remote:
		to = p.ends[0].Line
	default:
		return Line{}, false
	}
	if !to.Remote.IsValid() || !p.pay(bytes, now) {
		return Line{}, false
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
	if p.usage == nil {
		return true
	}
	if rate := float64(p.limits.Rate) * 1024; !p.spent(now) && rate > 0 && !p.usage.advance(bytes, rate, now) {
		return false
	}
	return p.usage.pay(bytes, p.quota(), now)
}

func (p *pair) quota() uint64 { return uint64(p.limits.Quota) << 20 }

// spent reports whether the quota is used up.
func (p *pair) spent(now time.Time) bool { return p.usage != nil && p.usage.spent(p.quota(), now) }

// Spent appends what an end of a session is to be told if it is time to say that the quota
// of the two peers is used up, and returns where it is.
func (f *Forwarder) Spent(dst []byte, session uint64, end uint8, now time.Time) (answer []byte, to Line, ok bool) {
	p := f.pairs[session]
	if p == nil || !p.spent(now) {
		return dst, Line{}, false
	}
	at := &p.ends[end]
	if !at.Remote.IsValid() || now.Sub(at.toldAt) < tellEvery {
		return dst, Line{}, false
	}
	at.toldAt = now
	return spentAnswer(session, at.nonce, untilTomorrow(now)).append(dst), at.Line, true
}

// Sweep forgets the sessions that have been silent, if it is time to look.
func (f *Forwarder) Sweep(now time.Time) {
	if now.Sub(f.swept) < sweepEvery {
		return
	}
	f.swept = now
	for id, p := range f.pairs {
		since := now.Sub(time.Unix(int64(p.until), 0)) // its grants have expired
		if now.Sub(p.heard) >= forgetAfter || since > graceFor+forgetAfter {
			delete(f.pairs, id)
			p.usage.release()
		}
	}
	f.usages.sweep(now)
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
