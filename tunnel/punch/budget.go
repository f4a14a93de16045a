package punch

import (
	"maps"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// A search takes many packets, and many ports of this side's NAT; the peer has a say in
// when, and where to. What searches cost is counted in rounds of foreseen ports.
const (
	searchCost = maxRounds // at random

	// What one peer is worth: a search at once, another one if more becomes known of the
	// NATs meanwhile, and then one in 40 s. One that has found a path counts as well.
	peerRounds = 2 * searchCost
	peerEvery  = 10 * time.Second // a round

	// What all peers together are worth, in searches that find nothing.
	allRounds = 2 * peerRounds
	allEvery  = peerEvery / 3
)

// A budget bounds what searches cost, whatever peers say.
type budget struct {
	all   *rate.Limiter
	peers map[signal.PeerID]*rate.Limiter // those that have used some of theirs
}

func newBudget() budget {
	return budget{rate.NewLimiter(rate.Every(allEvery), allRounds), make(map[signal.PeerID]*rate.Limiter)}
}

// begin takes the cost of a search from what a peer has, if there is enough.
func (b *budget) begin(peer signal.PeerID, cost int, now time.Time) bool {
	if b.all.TokensAt(now) < float64(cost) {
		return false
	}
	maps.DeleteFunc(b.peers, func(_ signal.PeerID, l *rate.Limiter) bool { return l.TokensAt(now) >= peerRounds })
	if b.peers[peer] == nil {
		b.peers[peer] = rate.NewLimiter(rate.Every(peerEvery), peerRounds)
	}
	return b.peers[peer].AllowN(now, cost)
}

// failed takes the cost of a search from what all have. There is enough: one search at a
// time has begun.
func (b *budget) failed(cost int, now time.Time) { b.all.AllowN(now, cost) }
