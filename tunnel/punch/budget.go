package punch

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// A search takes many packets, and many ports of this side's NAT; the peer has a say in
// when, and where to, and how long it takes. So there is one at a time, each peer has an
// account, and the one with the most in it goes first.
const (
	foundCost  = 1 // of a search that has found a path at once: it went where the peer is
	roundCost  = 4 // of foreseen ports
	searchCost = roundCost * maxRounds

	// What one peer is worth: a search at once, another one if more becomes known of the
	// NATs meanwhile, and then one in 40 s; one in twice, four and eight times that, each time
	// that as much was spent in vain.
	peerBurst  = 2 * searchCost
	peerEvery  = 40 * time.Second / searchCost
	mostSlower = 3

	// What all peers together are worth, in searches that find nothing.
	allBurst = 2 * peerBurst
	allEvery = peerEvery / 3

	// A search makes room for one with a peer that has so much more.
	ahead = searchCost / 2

	// A peer with which nothing was found is as good as any after so long.
	forgiveAfter = 30 * time.Minute
)

// A budget bounds what searches cost, whatever peers say, and shares it among them. Its
// methods may be called from any goroutine.
type budget struct {
	mu       sync.Mutex
	all      *rate.Limiter
	accounts map[signal.PeerID]*account
	running  *turn // nil: no search is
}

// An account is what one peer has.
type account struct {
	left     *rate.Limiter
	inVain   int // spent since something was found
	vainAt   time.Time
	waitedAt time.Time // when it was last refused since there was another search

	// Its last search was interrupted: the next one is not, or peers that are found at once
	// could have none of it ever end.
	interrupted bool
}

// A turn is one search.
type turn struct {
	ctx    context.Context // of the search: it is done when that is to make room
	stop   context.CancelFunc
	peer   signal.PeerID
	cost   int
	begun  time.Time
	yields bool
}

func newBudget() *budget {
	return &budget{
		all:      rate.NewLimiter(rate.Every(allEvery), allBurst),
		accounts: make(map[signal.PeerID]*account),
	}
}

// begin lets a search with a peer begin, or returns nil: there is not enough for it, another
// one runs, or somebody waits who goes first. Who asks again until lookEvery is over waits.
// The caller ends the turn.
func (b *budget) begin(working context.Context, peer signal.PeerID, cost int, now time.Time) *turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.account(peer, now)
	if b.all.TokensAt(now) < float64(cost) || own.left.TokensAt(now) < float64(cost) {
		return nil
	}
	own.waitedAt = now
	if r := b.running; r != nil {
		if other := b.accounts[r.peer]; !other.interrupted && own.precedes(other, now) {
			r.yields = true
			r.stop()
		}
		return nil
	}
	for _, other := range b.accounts {
		if other.waits(now) && other.precedes(own, now) {
			return nil
		}
	}
	own.waitedAt = time.Time{}
	b.running = &turn{peer: peer, cost: cost, begun: now}
	b.running.ctx, b.running.stop = context.WithCancel(working)
	return b.running
}

// account returns that of a peer, and forgets those that are like new.
func (b *budget) account(peer signal.PeerID, now time.Time) *account {
	maps.DeleteFunc(b.accounts, func(id signal.PeerID, a *account) bool {
		running := b.running != nil && b.running.peer == id
		return !running && a.left.TokensAt(now) >= peerBurst && now.Sub(a.vainAt) >= forgiveAfter && !a.waits(now)
	})
	own := b.accounts[peer]
	if own == nil {
		own = &account{left: rate.NewLimiter(rate.Every(peerEvery), peerBurst)}
		b.accounts[peer] = own
	}
	return own
}

func (a *account) waits(now time.Time) bool { return now.Sub(a.waitedAt) < 2*lookEvery }

// precedes reports whether a goes first, and may even interrupt the other.
func (a *account) precedes(other *account, now time.Time) bool {
	return a.left.TokensAt(now)-float64(a.inVain) >= other.left.TokensAt(now)-float64(other.inVain)+ahead
}

// end ends a turn, and takes its cost from what there is. There is enough: there is one search
// at a time. It reports whether the search was interrupted, and may be made again.
func (b *budget) end(t *turn, found bool, now time.Time) (interrupted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.stop()
	b.running = nil
	cost := t.cost
	if found || t.yields { // else the peer may have cut it short, to have another one
		cost = min(max(foundCost, int(searchCost*now.Sub(t.begun)/openFor)), cost)
	}
	if !found {
		b.all.AllowN(now, cost)
	}
	own := b.accounts[t.peer]
	own.interrupted = t.yields && !found
	own.left.AllowN(now, cost)
	switch {
	case found && cost < ahead:
		own.inVain = 0
	case !t.yields:
		own.inVain, own.vainAt = own.inVain+cost, now
	}
	own.left.SetLimitAt(now, rate.Every(peerEvery<<min(own.inVain/peerBurst, mostSlower)))
	return own.interrupted
}
