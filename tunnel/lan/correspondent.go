package lan

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// What a peer that is allowed can make this one do. Nobody else can make it do anything.
const (
	// Answers of multicast DNS, on each link and with each version of IP.
	answerRate  = 4 // a second
	answerBurst = 16

	// Opening a letter costs about 150 µs.
	openRate  = 5 // a second
	openBurst = 10

	maxAnswered = 1024 // questions that are known when they come again
	maxOpened   = 256  // letters that are, at least all that come while a cookie is good
	maxCookies  = maxPlaces
)

// maxCorrespondents bounds the peers that are remembered.
const maxCorrespondents = signal.MaxAllowed

// A tag is a MAC, or something as short and as hard to guess.
type tag [16]byte

// What a tag is for.
const (
	forQuestion byte = iota
	forAnswer
	forLetter
	forChallenge
)

// tagOf returns the tag of parts, of which the last only may have any length.
func tagOf(key *[32]byte, what byte, parts ...[]byte) tag {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte{what})
	for _, p := range parts {
		mac.Write(p)
	}
	return tag(mac.Sum(nil)[:len(tag{})])
}

func (t tag) equal(other tag) bool { return hmac.Equal(t[:], other[:]) }

// A correspondent is a peer that this one says something to, or that is allowed to. What
// claims to be of it costs a MAC to check, for the two have a secret that follows from their
// identities.
type correspondent struct {
	in, out [32]byte // keys of what it says, and of what it is told

	answers, openings *rate.Limiter

	mu       sync.Mutex
	answered []question // oldest first
	opened   []opened   // oldest first
	cookies  []held     // of this peer, oldest first
}

// A question is one that came by a link and a version of IP: it may come by others too, and
// is to be answered there.
type question struct {
	nonce [nonceSize]byte
	link  int
	v4    bool
}

// An opened is a letter that was opened, or will be: then it has no proof yet.
type opened struct{ id, proof tag }

// A held is a cookie that the peer wants to see from a place.
type held struct {
	at netip.AddrPort
	cookie
}

// isNew reports whether a question comes for the first time.
func (c *correspondent) isNew(q question) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.answered, q) {
		return false
	}
	c.answered = keep(c.answered, q, maxAnswered)
	return true
}

// wasOpened returns the proof that a letter was opened, which is zero if it waits for that.
func (c *correspondent) wasOpened(id tag) (proof tag, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.opened {
		if o.id == id {
			return o.proof, true
		}
	}
	return tag{}, false
}

// willOpen remembers a letter that waits.
func (c *correspondent) willOpen(id tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = keep(c.opened, opened{id: id}, maxOpened)
}

// hasOpened remembers the proof of a letter that waited.
func (c *correspondent) hasOpened(id, proof tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.opened {
		if c.opened[i].id == id {
			c.opened[i].proof = proof
		}
	}
}

// cookie returns what the peer wants to see in letters to a place, as far as is known.
func (c *correspondent) cookie(at netip.AddrPort) cookie {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.cookies {
		if h.at == at {
			return h.cookie
		}
	}
	return cookie{}
}

// hold remembers a cookie. It reports whether it is another one than before.
func (c *correspondent) hold(h held) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.cookies, h) {
		return false
	}
	c.cookies = slices.DeleteFunc(c.cookies, func(k held) bool { return k.at == h.at })
	c.cookies = keep(c.cookies, h, maxCookies)
	return true
}

// keep appends v to a list of at most so many, oldest first.
func keep[T any](list []T, v T, most int) []T {
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, v)
}

// correspondents are all of them.
type correspondents struct {
	identity signal.Identity

	mu    sync.Mutex
	known map[signal.PeerID]*correspondent
}

func newCorrespondents(identity signal.Identity) *correspondents {
	return &correspondents{identity: identity, known: make(map[signal.PeerID]*correspondent)}
}

// of returns a peer. The first time it costs an X25519.
func (cs *correspondents) of(peer signal.PeerID) (*correspondent, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.known[peer]; ok {
		return c, nil
	}
	shared, err := cs.identity.Agree(peer, "lan v1")
	if err != nil {
		return nil, err
	}
	for other := range cs.known {
		if len(cs.known) < maxCorrespondents {
			break
		}
		delete(cs.known, other) // more than may be allowed: one that is no more
	}
	me := cs.identity.PeerID()
	c := &correspondent{
		in: directed(&shared, peer), out: directed(&shared, me),
		answers:  rate.NewLimiter(answerRate, answerBurst),
		openings: rate.NewLimiter(openRate, openBurst),
	}
	cs.known[peer] = c
	return c, nil
}

// directed returns the key of what one of the two says.
func directed(shared *[32]byte, says signal.PeerID) [32]byte {
	mac := hmac.New(sha256.New, shared[:])
	mac.Write(says[:])
	return [32]byte(mac.Sum(nil))
}

// A cookie shows that who sends it has received it, where it was sent to, and not long ago
// (as in RFC 9147 section 5.1). Whoever made it remembers nothing.
type cookie tag

// cookieLife is for how long a cookie is good at least; twice that at most.
const cookieLife = 20 * time.Second

// A baker makes cookies and knows its own.
type baker struct {
	secret [32]byte
	begun  time.Time
}

// bake returns the cookie for a peer at a place.
func (b *baker) bake(peer signal.PeerID, at netip.AddrPort) cookie {
	return b.baked(b.batch(), peer, at)
}

// isGood reports whether c is a cookie that the peer at a place has got.
func (b *baker) isGood(c cookie, peer signal.PeerID, at netip.AddrPort) bool {
	batch := b.batch()
	return tag(c).equal(tag(b.baked(batch, peer, at))) || batch > 0 && tag(c).equal(tag(b.baked(batch-1, peer, at)))
}

func (b *baker) batch() uint64 { return uint64(time.Since(b.begun) / cookieLife) }

func (b *baker) baked(batch uint64, peer signal.PeerID, at netip.AddrPort) cookie {
	where := at.String()
	number := [8]byte{}
	for i := range number {
		number[i] = byte(batch >> (8 * i))
	}
	return cookie(tagOf(&b.secret, 0, number[:], peer[:], []byte(where)))
}

// replies bounds how often one letter is replied to: nobody but a peer can make one up, and
// those that were overheard and come again take nothing from others. Two letters may
// share a count.
type replies struct {
	batch  uint64
	counts [1024]uint8
}

// maxReplies is how many replies a letter gets while a cookie is good: it is repeated six
// times to each place.
const maxReplies = 64

// allow reports whether the letter may be replied to.
func (r *replies) allow(id tag, batch uint64) bool {
	if r.batch != batch {
		*r = replies{batch: batch}
	}
	n := &r.counts[(int(id[0])<<8|int(id[1]))%len(r.counts)]
	if *n == maxReplies {
		return false
	}
	*n++
	return true
}
