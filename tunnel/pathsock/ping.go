package pathsock

import (
	"net/netip"
	"sync"
	"time"
)

// A ping finds out whether the peer answers on a path, and how fast: a probe as short
// as can be. Nobody can answer it who has not received it.
type ping struct {
	mu    sync.Mutex
	asked [openPings]struct { // the newest overwrite the oldest
		nonce  uint64 // 0: none, or it was answered
		sentAt time.Duration
	}
	next       int
	answeredAt time.Duration
	rtt        time.Duration
}

// openPings is how many questions may wait for an answer at once. They are asked ten
// times a second, so that answers may take three seconds.
const openPings = 32

func (p *ping) ask(now time.Duration) (nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.asked[p.next]
	p.next = (p.next + 1) % len(p.asked)
	q.nonce, q.sentAt = newNonce(), now
	return q.nonce
}

// answered is called when an echo came at now.
func (p *ping) answered(nonce uint64, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.asked {
		if q := &p.asked[i]; nonce != 0 && nonce == q.nonce {
			q.nonce, p.answeredAt, p.rtt = 0, now, now-q.sentAt
		}
	}
}

// Ping asks the peer for an answer on a path: directly at an address, or through the
// relay there. doubt tells the peer that its packets may not arrive on that path.
func (p *Peer) Ping(to netip.AddrPort, relayed, doubt bool) {
	p.mu.Lock()
	path := p.path(p.way(to, relayed))
	p.mu.Unlock()
	size := probeHeader
	if doubt {
		size = doubtSize
	}
	p.socket.sendProbe(path.ping.ask(time.Duration(p.socket.now())), size, path.way)
}

// doubtSize is the size of a probe that tells of a doubt.
const doubtSize = probeHeader + 1

// Pinged returns when a question on a path was answered last, and the round trip time;
// zero times for never.
func (p *Peer) Pinged(to netip.AddrPort, relayed bool) (at time.Time, rtt time.Duration) {
	path := p.known(p.way(to, relayed))
	if path == nil {
		return time.Time{}, 0
	}
	path.ping.mu.Lock()
	defer path.ping.mu.Unlock()
	if path.ping.answeredAt == 0 {
		return time.Time{}, 0
	}
	return p.socket.start.Add(path.ping.answeredAt), path.ping.rtt
}

func (p *Peer) way(to netip.AddrPort, relayed bool) way {
	w := way{to: unmap(to)}
	if relayed {
		w.session = p.session
	}
	return w
}
