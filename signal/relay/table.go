package relay

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"peerway/signal"
)

// Limits of a [Table].
const (
	// IdleAfter is how long a session lives without a packet or a bind.
	IdleAfter = 2 * time.Minute
	// MaxSessions is how many sessions one peer may bind.
	MaxSessions = 1024
)

// Errors of [Table.Bind].
var (
	ErrTaken    = errors.New("relay session belongs to other peers")
	ErrTooMany  = errors.New("too many relay sessions")
	ErrWithSelf = errors.New("relay session of a peer with itself")
)

// A Table knows which two peers share a relay session. Its methods may be
// called from any goroutine. The zero value is ready for use.
type Table struct {
	// Quota is how many bytes two peers may relay in a day, which begins at midnight UTC; 0
	// is no limit. It is set before use.
	Quota uint64

	mu       sync.RWMutex
	sessions map[uint64]*session
	bound    map[signal.PeerID]int // how many sessions each peer bound first
	usages   usages[[2]signal.PeerID]
}

// A session is a pair of peers. heard is in nanoseconds, written without the
// lock of the table.
type session struct {
	first, second signal.PeerID
	relays        []*Member // on UDP, which both use
	heard         atomic.Int64
	told          atomic.Int64 // when the ends were told that the quota is used up
	usage         *usage       // of the two peers, in all their sessions; nil: there is no quota
}

// Bind makes from and to the ends of a session, or does nothing but keep it
// alive if they are already. It returns which end from is: 0, or 1 if its id is the
// larger. Whether they may talk is the caller's business.
func (t *Table) Bind(id uint64, from, to signal.PeerID, now time.Time) (end uint8, err error) {
	if from == to {
		return 0, ErrWithSelf
	}
	if bytes.Compare(from[:], to[:]) > 0 { // whoever asks first, also after this was forgotten
		end = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[id]; s != nil {
		if (s.first != from || s.second != to) && (s.first != to || s.second != from) {
			return 0, ErrTaken
		}
		s.heard.Store(now.UnixNano())
		return end, nil
	}
	if t.bound[from] >= MaxSessions {
		return 0, ErrTooMany
	}
	if t.sessions == nil {
		t.sessions = make(map[uint64]*session)
		t.bound = make(map[signal.PeerID]int)
		t.usages = make(usages[[2]signal.PeerID])
	}
	s := &session{first: from, second: to}
	s.heard.Store(now.UnixNano())
	if pair := [2]signal.PeerID{from, to}; t.Quota > 0 {
		if end == 1 {
			pair = [2]signal.PeerID{to, from}
		}
		s.usage = t.usages.hold(pair, now)
	}
	t.sessions[id] = s
	t.bound[from]++
	return end, nil
}

// Assign returns the relays on UDP that both ends of a session are to use: the same as
// before as long as they are well. Where nothing is known of the session, before is what
// an end says (see [Fleet.Find]). It returns none while it is not clear what that means.
func (t *Table) Assign(id uint64, fleet *Fleet, had []string, now time.Time) []*Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sessions[id]
	if s == nil {
		return nil
	}
	if s.relays == nil {
		found, sure := fleet.Find(had)
		if !sure { // the ends have their relays, and will ask again
			return nil
		}
		s.relays = found
	}
	s.relays = fleet.Pick(now, s.relays)
	return s.relays
}

// Other returns the peer that a packet of from in a session goes to. It reports false if
// from is not an end of such a session.
func (t *Table) Other(id uint64, from signal.PeerID, now time.Time) (to signal.PeerID, ok bool) {
	s := t.find(id)
	switch {
	case s == nil:
		return signal.PeerID{}, false
	case s.first == from:
		to = s.second
	case s.second == from:
		to = s.first
	default:
		return signal.PeerID{}, false
	}
	s.heard.Store(now.UnixNano())
	return to, true
}

// Pay takes so many bytes, which are about to be forwarded in a session, of the quota of its
// peers. It reports false if that is used up: left is then for how long, each second once,
// for the two to be told, and else 0.
func (t *Table) Pay(id uint64, bytes int, now time.Time) (ok bool, left time.Duration) {
	s := t.find(id)
	if s == nil { // since Other
		return false, 0
	}
	if s.usage == nil || s.usage.pay(bytes, t.Quota, now) {
		return true, 0
	}
	told := s.told.Load()
	if now.UnixNano()-told < int64(tellEvery) || !s.told.CompareAndSwap(told, now.UnixNano()) {
		return false, 0
	}
	return false, untilTomorrow(now)
}

func (t *Table) find(id uint64) *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sessions[id]
}

// Sweep forgets the sessions that have been silent for [IdleAfter].
func (t *Table) Sweep(now time.Time) {
	silent := now.Add(-IdleAfter).UnixNano()
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.sessions {
		if s.heard.Load() > silent {
			continue
		}
		delete(t.sessions, id)
		s.usage.release()
		if t.bound[s.first]--; t.bound[s.first] == 0 {
			delete(t.bound, s.first)
		}
	}
	t.usages.sweep(now)
}

// Len returns how many sessions there are.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.sessions)
}
