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
	// Survey is as short as can be, and counts: how fast and how often is it answered?
	Survey Question = iota

	// Proof is as long as what every path must carry: there are paths that let only
	// short packets through, which are of no use to QUIC.
	Proof

	// Doubt is Proof, and tells the peer that its own packets may not arrive on the path.
	Doubt
)

// Answers is what came of the questions on one path.
type Answers struct {
	At  time.Time     // of the newest; zero: never
	RTT time.Duration // that it took

	// How many of kind Survey were answered in time, and how many were not. Those that
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
	}
	next       int
	answeredAt time.Duration
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
	o.nonce, o.sentAt, o.counted = newNonce(), now, q != Survey
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
func (p *Peer) Answers(to netip.AddrPort, relayed bool) (a Answers) {
	path := p.known(p.way(to, relayed))
	if path == nil {
		return a
	}
	of := &path.ping
	of.mu.Lock()
	defer of.mu.Unlock()
	of.settle(time.Duration(p.socket.now()))
	if a.Got, a.Lost = of.got, of.lost; of.answeredAt != 0 {
		a.At, a.RTT = p.socket.start.Add(of.answeredAt), of.rtt
	}
	return a
}

func (p *Peer) way(to netip.AddrPort, relayed bool) way {
	w := way{to: unmap(to)}
	if relayed {
		w.session = p.session
	}
	return w
}
