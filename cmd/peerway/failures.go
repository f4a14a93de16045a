package main

import (
	"errors"
	"sync"
	"time"

	"peerway/proxy"
	"peerway/signal"
	"peerway/tunnel"
)

// Failures remember why peers could not be reached the last time that this was tried: a
// person who asks later finds no tunnel that could say it. The zero value is ready. It is safe
// for concurrent use.
type failures struct {
	mu   sync.Mutex
	last map[signal.PeerID]failure // of paired peers, which bounds it
}

// A failure is why a peer could not be reached.
type failure struct {
	said  *askError
	at    time.Time
	until time.Time // it is over by then
}

// toldFor is how long a failure is worth telling: later the peer may well be reached.
const toldFor = time.Hour

// A failureReport is a failure as status tells it.
type failureReport struct {
	askError
	Age int64 `json:"age_s"`
}

// note remembers err, which came of reaching for a peer, if it is about that peer: of the signal
// server, who asks is told anyway, and a viewer who has left says nothing of either.
func (f *failures) note(peer signal.PeerID, err error) {
	if _, ok := errors.AsType[*proxy.Error](err); !ok || errors.Is(err, signal.ErrDisconnected) {
		return
	}
	now := failure{said: newAskError(err), at: time.Now(), until: time.Now().Add(toldFor)}
	if spent, ok := errors.AsType[*tunnel.QuotaError](err); ok {
		now.until = spent.Until
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = make(map[signal.PeerID]failure)
	}
	f.last[peer] = now
}

// clear forgets the failure of a peer, which is there.
func (f *failures) clear(peer signal.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.last, peer)
}

// forget forgets all failures.
func (f *failures) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.last)
}

// report returns the failure of a peer as of now, or nil.
func (f *failures) report(peer signal.PeerID, now time.Time) *failureReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.last[peer]
	if !ok || now.After(last.until) {
		return nil
	}
	return &failureReport{*last.said, int64(now.Sub(last.at) / time.Second)}
}
