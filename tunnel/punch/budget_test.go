package punch

import (
	"testing"
	"time"

	"peerway/signal"
)

// searchFor has a peer ask for searches as often as it can, each of which lasts so long,
// and returns how many begin.
func searchFor(b *budget, peer signal.PeerID, cost int, lasts, within time.Duration, begun time.Time) (searches int) {
	for now := begun; now.Before(begun.Add(within)); now = now.Add(lasts) {
		if b.has(peer, cost, now) {
			searches++
			b.pay(peer, cost, false, now.Add(lasts))
		}
	}
	return searches
}

// A peer gets two searches, or eight rounds, and then one in 40 s, or four; whatever it says.
func TestSearchesOfOnePeer(t *testing.T) {
	begun := time.Now()
	for name, test := range map[string]struct {
		cost         int
		within       time.Duration
		most, honest int
	}{
		"searches":          {searchCost, time.Minute, 3, 2},
		"searches for ever": {searchCost, time.Hour, 92, 90},
		"rounds":            {roundCost, 10 * time.Second, 8, 8},
		"rounds for ever":   {roundCost, time.Hour, 368, 360},
	} {
		b := newBudget()
		if got := searchFor(&b, signal.PeerID{1}, test.cost, 100*time.Millisecond, test.within, begun); got > test.most || got < test.honest {
			t.Errorf("%s: %d in %v, want %d to %d", name, got, test.within, test.honest, test.most)
		}
	}
}

// One peer that takes all that it gets leaves some to others; many of them do not get more
// than three would, and those that have not asked for long are forgotten.
func TestSearchesOfManyPeers(t *testing.T) {
	b, begun := newBudget(), time.Now()
	searchFor(&b, signal.PeerID{1}, searchCost, time.Second, time.Hour, begun)
	now := begun.Add(time.Hour)
	for range 2 {
		if !b.has(signal.PeerID{2}, searchCost, now) {
			t.Fatal("the searches of one peer leave none to another")
		}
		b.pay(signal.PeerID{2}, searchCost, false, now)
	}
	searches := 0
	for i := range 7200 {
		peer, now := signal.PeerID{3, byte(i)}, now.Add(time.Duration(i)*time.Second/2)
		if b.has(peer, searchCost, now) {
			searches++
			b.pay(peer, searchCost, false, now)
		}
	}
	if searches < 270 || searches > 275 {
		t.Errorf("many peers get %d searches in an hour", searches)
	}
	if !b.has(signal.PeerID{1}, roundCost, now.Add(3*time.Hour)) || len(b.peers) != 1 {
		t.Errorf("%d peers are remembered for ever", len(b.peers))
	}
}

// A search that finds something takes nothing from others, and little from its peer: who
// connects again and again is let.
func TestSearchesThatFind(t *testing.T) {
	b, now := newBudget(), time.Now()
	for i := range 100 {
		now = now.Add(4 * time.Second)
		if !b.has(signal.PeerID{1}, searchCost, now) {
			t.Fatalf("search %d is not let", i)
		}
		b.pay(signal.PeerID{1}, searchCost, true, now)
	}
	for i := range 30 {
		if !b.has(signal.PeerID{2, byte(i)}, searchCost, now) {
			t.Fatalf("peer %d may not search", i)
		}
	}
}
