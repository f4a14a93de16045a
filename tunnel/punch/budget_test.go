package punch

import (
	"testing"
	"time"

	"peerway/signal"
)

// searchFor has a peer ask for searches as often as it can, each of which lasts so long,
// and returns how many begin.
func searchFor(t *testing.T, b *budget, peer signal.PeerID, cost int, lasts, within time.Duration, begun time.Time) (searches int) {
	for now := begun; now.Before(begun.Add(within)); now = now.Add(lasts) {
		if turn := b.begin(t.Context(), peer, cost, now); turn != nil {
			searches++
			b.end(turn, false, now.Add(lasts))
		}
	}
	return searches
}

// A peer gets two searches, or eight rounds, and then ever fewer, down to one in 320 s, or four;
// whatever it says.
func TestSearchesOfOnePeer(t *testing.T) {
	begun := time.Now()
	for name, test := range map[string]struct {
		cost         int
		within       time.Duration
		most, honest int
	}{
		"searches":          {searchCost, 70 * time.Second, 2, 2},
		"searches for ever": {searchCost, time.Hour, 16, 15},
		"rounds":            {roundCost, 10 * time.Second, 8, 8},
		"rounds for ever":   {roundCost, time.Hour, 64, 60},
	} {
		b := newBudget()
		if got := searchFor(t, b, signal.PeerID{1}, test.cost, 100*time.Millisecond, test.within, begun); got > test.most || got < test.honest {
			t.Errorf("%s: %d in %v, want %d to %d", name, got, test.within, test.honest, test.most)
		}
	}
}

// One peer that takes all that it gets leaves some to others; many of them do not get more
// than three would, and those that have not asked for long are forgotten.
func TestSearchesOfManyPeers(t *testing.T) {
	b, begun := newBudget(), time.Now()
	searchFor(t, b, signal.PeerID{1}, searchCost, time.Second, time.Hour, begun)
	now := begun.Add(time.Hour)
	for range 2 {
		turn := b.begin(t.Context(), signal.PeerID{2}, searchCost, now)
		if turn == nil {
			t.Fatal("the searches of one peer leave none to another")
		}
		b.end(turn, false, now)
	}
	searches := 0
	for i := range 7200 {
		peer, now := signal.PeerID{3, byte(i)}, now.Add(time.Duration(i)*time.Second/2)
		if turn := b.begin(t.Context(), peer, searchCost, now); turn != nil {
			searches++
			b.end(turn, false, now)
		}
	}
	if searches < 270 || searches > 275 {
		t.Errorf("many peers get %d searches in an hour", searches)
	}
	if b.begin(t.Context(), signal.PeerID{1}, roundCost, now.Add(3*time.Hour)) == nil || len(b.accounts) != 1 {
		t.Errorf("%d peers are remembered for ever", len(b.accounts))
	}
}

// A search that finds something takes nothing from others, and little from its peer: who
// connects again and again is let.
func TestSearchesThatFind(t *testing.T) {
	b, now := newBudget(), time.Now()
	for i := range 100 {
		now = now.Add(3 * time.Second)
		turn := b.begin(t.Context(), signal.PeerID{1}, searchCost, now)
		if turn == nil {
			t.Fatalf("search %d is not let", i)
		}
		now = now.Add(time.Second)
		b.end(turn, true, now)
	}
	for i := range 30 {
		turn := b.begin(t.Context(), signal.PeerID{2, byte(i)}, searchCost, now)
		if turn == nil {
			t.Fatalf("peer %d may not search", i)
		}
		b.end(turn, true, now)
	}
}

// A peer that lets itself be found at the last moment, each time, has had the time of others.
func TestSearchesThatFindLate(t *testing.T) {
	b, begun := newBudget(), time.Now()
	var held time.Duration
	for now := begun; now.Before(begun.Add(time.Hour)); now = now.Add(lookEvery) {
		if turn := b.begin(t.Context(), signal.PeerID{1}, searchCost, now); turn != nil {
			now = now.Add(openFor - time.Second)
			held += openFor - time.Second
			b.end(turn, true, now)
		}
	}
	if held > time.Hour/20 {
		t.Errorf("one peer has held the place for %v of an hour", held)
	}
}

// A search makes room for one with a peer that has had none, and is made again when there
// is room. What it has cost until then is little.
func TestSearchMakesRoom(t *testing.T) {
	good, bad := signal.PeerID{1}, signal.PeerID{2}
	b, now := newBudget(), time.Now()
	begin := func(peer signal.PeerID) *turn { return b.begin(t.Context(), peer, searchCost, now) }
	first := begin(bad)
	if now = now.Add(time.Second); begin(good) != nil || first.ctx.Err() != nil {
		t.Error("a first search makes room for another one")
	}
	b.end(first, false, now)
	now = now.Add(time.Minute)
	second := begin(bad)
	if now = now.Add(time.Second); begin(good) != nil || second.ctx.Err() == nil {
		t.Fatal("a search in vain after another one makes no room for a first one")
	}
	if !b.end(second, false, now) {
		t.Error("a search that made room may not be made again")
	}
	if begin(bad) != nil {
		t.Error("who has made room has it back before it was used")
	}
	honest := begin(good)
	if honest == nil {
		t.Fatal("no room for who has waited")
	}
	if begin(bad) != nil || honest.ctx.Err() != nil {
		t.Error("who has searched in vain takes the place of who has not")
	}
	b.end(honest, true, now)
	if third := begin(bad); third == nil || b.end(third, false, now) {
		t.Error("who has made room may not search when nobody wants to")
	}
}

// Who has stopped waiting is not waited for.
func TestSearchIsNotWaitedFor(t *testing.T) {
	b, now := newBudget(), time.Now()
	b.end(b.begin(t.Context(), signal.PeerID{2}, searchCost, now), false, now)
	running := b.begin(t.Context(), signal.PeerID{2}, searchCost, now)
	b.begin(t.Context(), signal.PeerID{1}, searchCost, now)
	b.end(running, false, now)
	if now = now.Add(3 * lookEvery); b.begin(t.Context(), signal.PeerID{2}, roundCost, now) == nil {
		t.Error("a peer that has gone keeps the place")
	}
}

// Peers that are found at once, again and again, take turns with one that is not: most of its
// searches last as long as they are to, as if it were alone.
func TestSearchIsNotInterruptedForEver(t *testing.T) {
	alone := wholeSearches(t, 0, time.Second)
	for _, hostile := range []int{1, 3} {
		for _, every := range []time.Duration{lookEvery, time.Second, 2 * time.Second, 5 * time.Second} {
			if got := wholeSearches(t, hostile, every); got < alone-2 {
				t.Errorf("%d whole searches in 20 min besides %d peers that ask each %v, %d alone", got, hostile, every, alone)
			}
		}
	}
}

// wholeSearches returns how many searches with an honest peer that is not found last to their
// end in 20 min, while so many others that are found within 200 ms ask that often.
func wholeSearches(t *testing.T, hostile int, every time.Duration) (whole int) {
	b, begun := newBudget(), time.Now()
	honest := signal.PeerID{1}
	var running *turn
	for now := begun; now.Before(begun.Add(20 * time.Minute)); now = now.Add(lookEvery) {
		if r := running; r != nil {
			lasts := now.Sub(r.begun)
			switch {
			case r.peer != honest && lasts >= 200*time.Millisecond:
				b.end(r, true, now)
				running = nil
			case r.peer == honest && (r.ctx.Err() != nil || lasts >= openFor):
				if !b.end(r, false, now) {
					whole++
				}
				running = nil
			}
		}
		for i := range hostile {
			if now.Sub(begun)%every != 0 {
				break
			}
			if turn := b.begin(t.Context(), signal.PeerID{2, byte(i)}, searchCost, now); turn != nil {
				running = turn
			}
		}
		if running == nil || running.peer != honest {
			if turn := b.begin(t.Context(), honest, searchCost, now); turn != nil {
				running = turn
			}
		}
	}
	return whole
}
