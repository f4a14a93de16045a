package tunnel

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestQuota: where only the websocket could carry a tunnel and the quota is used up, both
// who has a tunnel and who wants one are told so.
func TestQuota(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	old := a.up(t)
	a.wire.spent.Store(true)
	b.wire.spent.Store(true)
	if _, err := a.Ping(t.Context(), b.id); err == nil { // it is lost with the tunnel
		t.Error("an answer came through")
	}
	<-old.retired
	begun := time.Now()
	for _, err := range []error{old.err, ping(t.Context(), a.Manager, b.id, []byte("hello"))} {
		quota, ok := errors.AsType[*QuotaError](err)
		if !ok || time.Until(quota.Until) > time.Hour || time.Until(quota.Until) < 50*time.Minute ||
			!strings.Contains(err.Error(), "the relay's quota for this pair is used up") {
			t.Errorf("a tunnel ended with %v, want a quota for an hour", err)
		}
	}
	if took := time.Since(begun); took > 2*spentFor {
		t.Errorf("that took %v", took)
	}
	a.wire.spent.Store(false)
	b.wire.spent.Store(false)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Errorf("with a new quota: %v", err)
	}
}

// A tunnel that has another path does not mind.
func TestQuotaOfTheWebsocketOnly(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	r := runRelay(t, "relay")
	grantBoth(t, a, b, r)
	waitRemote(t, r.addr, a, b)
	tunnel := a.up(t)
	a.wire.spent.Store(true)
	b.wire.spent.Store(true)
	for begun := time.Now(); time.Since(begun) < spentFor+time.Second; {
		a.Spent(tunnel.id, time.Hour)
		if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if a.up(t) != tunnel {
		t.Error("the tunnel has ended")
	}
	if got := a.Tunnels()[0].Exhausted; !strings.HasPrefix(got, "the quota for this pair is used up at the signal server's websocket until ") {
		t.Errorf("Exhausted = %q", got)
	}
}

// TestQuotaBeforeTheHandshake: who asks first, over a websocket that carries no more, is not told
// that the peer has lost its network.
func TestQuotaBeforeTheHandshake(t *testing.T) {
	var s session
	none := fmt.Errorf("%w: the handshake is not answered", ErrNoPath)
	if err := s.explain(none); err != none {
		t.Errorf("without a quota: %v", err)
	}
	s.spent.Store(&spent{at: time.Now(), until: time.Now().Add(time.Hour)})
	if _, ok := errors.AsType[*QuotaError](s.explain(none)); !ok {
		t.Errorf("with one that is used up: %v", s.explain(none))
	}
	if err := s.explain(errSuperseded); err != errSuperseded {
		t.Errorf("of another end: %v", err)
	}
	s.spent.Store(&spent{at: time.Now(), until: time.Now().Add(-time.Second)})
	if err := s.explain(none); err != none {
		t.Errorf("on the next day: %v", err)
	}
}
