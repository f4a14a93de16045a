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
	mu       sync.RWMutex
	sessions map[uint64]*session
	bound    map[signal.PeerID]int // how many sessions each peer bound first
}

// A session is a pair of peers. heard is in nanoseconds, written without the
// lock of the table.
type session struct {
	first, second signal.PeerID
	heard         atomic.Int64
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
	}
	s := &session{first: from, second: to}
	s.heard.Store(now.UnixNano())
	t.sessions[id] = s
	t.bound[from]++
	return end, nil
}

// Forward returns the peer that a packet of from in this session goes to. It
// reports false if from is not an end of such a session.
func (t *Table) Forward(id uint64, from signal.PeerID, now time.Time) (to signal.PeerID, ok bool) {
	t.mu.RLock()
	s := t.sessions[id]
	t.mu.RUnlock()
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
		if t.bound[s.first]--; t.bound[s.first] == 0 {
			delete(t.bound, s.first)
		}
	}
}

// Len returns how many sessions there are.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.sessions)
}
