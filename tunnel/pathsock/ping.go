package pathsock

import (
	"net/netip"
	"sync"
	"time"
)

// A ping finds out whether the peer answers on a path, and how fast: a probe as short
// as can be. Nobody can answer it who has not received it.
type ping struct {
	mu         sync.Mutex
	nonce      uint64 // of the last one; 0: there was none, or it was answered
	sentAt     time.Duration
	answeredAt time.Duration
	rtt        time.Duration
}

func (p *ping) ask(now time.Duration) (nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce, p.sentAt = newNonce(), now
	return p.nonce
}

// answered is called when an echo came at now.
func (p *ping) answered(nonce uint64, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if nonce == p.nonce {
		p.nonce, p.answeredAt, p.rtt = 0, now, now-p.sentAt
	}
}

// Ping asks the peer for an answer on a path: directly at an address, or through the
// relay there. An earlier question on that path counts no more. doubt tells the peer
// that its packets may not arrive on that path.
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

// Pinged returns when the last question on a path was answered, and the round trip
// time; zero times for never.
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
