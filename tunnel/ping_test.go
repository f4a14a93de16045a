package tunnel

import (
	"errors"
	"strings"
	"testing"

	"peerway/signal"
	"peerway/tunnel/path"
)

// TestPing asks a peer that there is no tunnel with yet, and again when it has gone.
func TestPing(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	first, err := a.Ping(t.Context(), b.id)
	if err != nil || first.RTT <= 0 || first.Path == "" {
		t.Fatalf("Ping() = %+v, %v", first, err)
	}
	waitPath(t, a.Manager, "direct")
	waitPath(t, b.Manager, "direct")
	p, err := b.Ping(t.Context(), a.id)
	if err != nil || p.Path != "direct" || !p.Remote.IsValid() || p.Why != "" || p.PeerWhy != "" {
		t.Errorf("Ping() = %+v, %v", p, err)
	}
	s := a.up(t)
	s.mu.Lock()
	if len(s.pongs) != 0 {
		t.Errorf("%d questions are not forgotten", len(s.pongs))
	}
	s.mu.Unlock()
	b.kill()
	offline := error(signal.ErrOffline)
	a.wire.err.Store(&offline)
	// Whether it noticed the end before or meanwhile: the next tunnel is what says why.
	if _, err := a.Ping(t.Context(), b.id); !errors.Is(err, signal.ErrOffline) {
		t.Errorf("Ping() of a peer that is gone = %v, want %v", err, signal.ErrOffline)
	}
}

// TestPingSaysWhy: without a direct path both ends say why there is none.
func TestPingSaysWhy(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	if _, err := a.Ping(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	waitPath(t, a.Manager, "direct")
	s := a.up(t)
	s.setWhere(path.Decision{Websocket: true, Name: path.Websocket})
	s.setReason("here")
	b.up(t).setReason(strings.Repeat("x", 2*maxWhy))
	p, err := a.Ping(t.Context(), b.id)
	if err != nil || p.Why != "here" || p.PeerWhy != strings.Repeat("x", maxWhy) {
		t.Errorf("Ping() = %+v, %v", p, err)
	}
}
