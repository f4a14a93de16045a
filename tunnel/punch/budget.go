package punch

import (
	"maps"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// A search takes many packets, and many ports of this side's NAT; the peer has a say in
// when, and where to.
const (
	foundCost  = 1 // of a search that has found a path: it went where the peer is
	roundCost  = 4 // of foreseen ports
	searchCost = roundCost * maxRounds

	// What one peer is worth: a search at once, another one if more becomes known of the
	// NATs meanwhile, and then one in 40 s.
	peerBurst = 2 * searchCost
	peerEvery = 40 * time.Second / searchCost

	// What all peers together are worth, in searches that find nothing.
	allBurst = 2 * peerBurst
	allEvery = peerEvery / 3
)

// A budget bounds what searches cost, whatever peers say.
type budget struct {
	all   *rate.Limiter
	peers map[signal.PeerID]*rate.Limiter // those that have used some of theirs
}

func newBudget() budget {
	return budget{rate.NewLimiter(rate.Every(allEvery), allBurst), make(map[signal.PeerID]*rate.Limiter)}
}

// has reports whether there is enough for a search with a peer.
func (b *budget) has(peer signal.PeerID, cost int, now time.Time) bool {
	if b.all.TokensAt(now) < float64(cost) {
		return false
	}
	maps.DeleteFunc(b.peers, func(_ signal.PeerID, l *rate.Limiter) bool { return l.TokensAt(now) >= peerBurst })
	if b.peers[peer] == nil {
		b.peers[peer] = rate.NewLimiter(rate.Every(peerEvery), peerBurst)
	}
	return b.peers[peer].TokensAt(now) >= float64(cost)
}

// pay takes what a search has cost from what there is. There is enough: there is one search
// at a time.
func (b *budget) pay(peer signal.PeerID, cost int, found bool, now time.Time) {
	if found {
		cost = foundCost
	} else {
		b.all.AllowN(now, cost)
	}
	b.peers[peer].AllowN(now, cost)
}
