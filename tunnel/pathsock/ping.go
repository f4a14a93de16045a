package pathsock

import (
	"net/netip"
	"sync"
	"time"
)

// A Question finds out something about a path. Nobody can answer it who has not received
// it.
type Question uint8

const (
	// Survey counts: how fast and how often is it answered? It is as short as can be.
	Survey Question = iota

	// LongSurvey is the same, and as long as what every path must carry: there are paths
	// that let only short packets through, which are of no use to QUIC.
	LongSurvey

	// Proof is as long, and does not count.
	Proof

	// Doubt is Proof, and tells the peer that its own packets may not arrive on the path.
	Doubt
)

// Answers is what came of the questions on one path.
type Answers struct {
	At  time.Time     // of the newest; zero: never
	RTT time.Duration // that it took

	// When a long question was answered last, and since when how many were asked
	// without an answer. Zero: never, and none.
	Proven, OwedAt time.Time
	Owed           int

	// How many surveys were answered in time, and how many were not. Those that
	// may still be are in neither.
	Got, Lost uint64
}

// A ping keeps the questions on one path.
type ping struct {
	mu    sync.Mutex
	asked [openPings]struct { // the newest overwrite the oldest
		nonce   uint64 // 0: none, or it was answered
		sentAt  time.Duration
		counted bool // as lost, or it does not count
		long    bool
	}
	next       int
	answeredAt time.Duration // 0: never
	provenAt   time.Duration // 0: never
	owedAt     time.Duration // 0: nothing is
	owed       int
	rtt        time.Duration
	got, lost  uint64
}

const (
	// openPings is how many questions may wait for an answer at once. They are asked
	// twenty times a second at most, so that answers may take three seconds.
	openPings = 64

	// An answer is in time before this, or two round trips.
	patience    = time.Second
	maxPatience = 3 * time.Second
)

func (p *ping) ask(now time.Duration, q Question) (nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &p.asked[p.next]
	if o.nonce != 0 && !o.counted {
		p.lost++
	}
	p.next = (p.next + 1) % len(p.asked)
	o.nonce, o.sentAt, o.counted, o.long = newNonce(), now, q > LongSurvey, q != Survey
	if o.long {
		if p.owed++; p.owed == 1 {
			p.owedAt = now
		}
	}
	return o.nonce
}

// answered is called when an echo came at now.
func (p *ping) answered(nonce uint64, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.asked {
		if o := &p.asked[i]; nonce != 0 && nonce == o.nonce {
			o.nonce, p.answeredAt, p.rtt = 0, now, now-o.sentAt
			if !o.counted {
				p.got++
			}
			if o.long {
				p.provenAt, p.owedAt, p.owed = now, 0, 0
			}
		}
	}
}

// settle counts the questions that will not be answered in time any more.
func (p *ping) settle(now time.Duration) {
	inTime := min(max(patience, 2*p.rtt), maxPatience)
	for i := range p.asked {
		if o := &p.asked[i]; o.nonce != 0 && !o.counted && now-o.sentAt > inTime {
			o.counted = true
			p.lost++
		}
	}
}

// Ask asks the peer on a path: directly at an address, through the relay there, or, with
// no address, over the carrier.
func (p *Peer) Ask(to netip.AddrPort, relayed bool, q Question) {
	p.mu.Lock()
	path := p.path(p.way(to, relayed))
	p.mu.Unlock()
	p.probe(path.ping.ask(time.Duration(p.socket.now()), q), q, path.way)
}

// Answers returns what came of that.
func (p *Peer) Answers(to netip.AddrPort, relayed bool) Answers {
	path := p.known(p.way(to, relayed))
	if path == nil {
		return Answers{}
	}
	of := &path.ping
	of.mu.Lock()
	defer of.mu.Unlock()
	of.settle(time.Duration(p.socket.now()))
	at := func(d time.Duration) (t time.Time) {
		if d != 0 {
			t = p.socket.start.Add(d)
		}
		return t
	}
	return Answers{
		At: at(of.answeredAt), RTT: of.rtt, Proven: at(of.provenAt),
		OwedAt: at(of.owedAt), Owed: of.owed, Got: of.got, Lost: of.lost,
	}
}

func (p *Peer) way(to netip.AddrPort, relayed bool) way {
	w := way{to: unmap(to)}
	if relayed {
		w.session = p.session
	}
	return w
}
