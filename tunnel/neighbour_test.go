package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"peerway/signal"
	"peerway/tunnel/lan"
	"peerway/tunnel/lane"
	"peerway/tunnel/punch"
)

// newNeighbours is newPair for two in one local network. The server does not know them.
func newNeighbours(t *testing.T, err error) (a, b *end) {
	t.Helper()
	a, b = newPairOf(t, Config{Handle: echo, LAN: true, Loopback: true})
	for _, e := range []*end{a, b} {
		e.wire.cut.Store(true) // no packet is relayed
		if err != nil {
			e.wire.err.Store(&err)
		}
	}
	return a, b
}

// TestNeighbours has no signal server in several ways.
func TestNeighbours(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
	}{
		{"disconnected", signal.ErrDisconnected},
		{"offline", signal.ErrOffline},
		{"limited", errors.New("too many requests")},
		{"silent", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := newNeighbours(t, test.err)
			a.wire.stuck.Store(test.err == nil)
			b.wire.stuck.Store(test.err == nil)
			begun := time.Now()
			if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			t.Logf("the first answer after %v", time.Since(begun).Round(time.Millisecond))
			waitPath(t, a.Manager, "direct")
			waitPath(t, b.Manager, "direct")
		})
	}
}

func TestNobodyNear(t *testing.T) {
	a, _ := newNeighbours(t, signal.ErrOffline)
	stranger := signal.NewIdentity().PeerID()
	_, err := a.DialContext(t.Context(), stranger, "echo", lane.Mixed)
	for _, want := range []error{signal.ErrOffline, ErrNotNear, lan.ErrNobody} {
		if !errors.Is(err, want) {
			t.Errorf("dial = %v, want %v", err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.DialContext(ctx, signal.NewIdentity().PeerID(), "echo", lane.Mixed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial = %v, cut off", err)
	}
	refused := error(signal.ErrNotAllowed)
	a.wire.err.Store(&refused)
	stranger = signal.NewIdentity().PeerID()
	if _, err := a.DialContext(t.Context(), stranger, "echo", lane.Mixed); !errors.Is(err, refused) || errors.Is(err, ErrNotNear) {
		t.Errorf("dial = %v, want %v", err, refused)
	}
}

// What was not found nearby is said, once, also when nobody has introduced the two in time.
func TestAbsent(t *testing.T) {
	both := fmt.Errorf("%w: %w", ErrNoPath, ErrNotNear)
	for _, test := range []struct {
		absent bool
		err    error
		want   bool // another error
	}{{true, ErrNoPath, true}, {false, ErrNoPath, false}, {true, ErrPeerLost, false}, {true, both, false}} {
		s := &session{}
		s.absent.Store(test.absent)
		if got := s.explain(test.err); (got != test.err) != test.want || !errors.Is(got, test.err) || test.want && !errors.Is(got, ErrNotNear) {
			t.Errorf("explain(%v) = %v", test.err, got)
		}
	}
}

// TestBothDialNear lets both ends look for each other at once.
func TestBothDialNear(t *testing.T) {
	a, b := newNeighbours(t, signal.ErrDisconnected)
	done := make(chan error, 2)
	go func() { done <- ping(t.Context(), a.Manager, b.id, []byte("from a")) }()
	go func() { done <- ping(t.Context(), b.Manager, a.id, []byte("from b")) }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestWithoutLAN sends what belongs to package lan to who does not want it.
func TestWithoutLAN(t *testing.T) {
	a, _ := newPair(t, true, 0, echo)
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", a.sock.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, first := range []byte{10, 11} {
		a.deliver(append([]byte{first}, make([]byte, 200)...), netip.MustParseAddrPort("127.0.0.1:1"))
		if _, err := conn.Write(append([]byte{first}, make([]byte, 200)...)); err != nil {
			t.Error(err)
		}
	}
}

func TestFit(t *testing.T) {
	long := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("h6 1 udp 2130706431 2001:db8:1111:2222:3333:4444:5555:%x 65535 typ host", 0x1000+i))
		}
		return list
	}
	whole := punch.Description{Ufrag: "fragment", Pwd: "apasswordofmanymanybytes", Candidates: long(16)}
	m := message{Kind: offer, Session: 1, Punch: &whole}
	b, err := m.fit(lan.MaxMessage)
	if err != nil || len(b) > lan.MaxMessage {
		t.Fatalf("fit() = %d bytes, %v", len(b), err)
	}
	got, err := decodeMessage(b)
	if err != nil || len(got.Punch.Candidates) < 10 || got.Punch.Candidates[0] != whole.Candidates[0] || got.Punch.Pwd != whole.Pwd {
		t.Errorf("what fits is %+v, %v", got, err)
	}
	if len(whole.Candidates) != 16 {
		t.Error("the description was changed")
	}
	m = message{Kind: candidates, Candidates: long(16)}
	if b, err = m.fit(500); err != nil || len(b) > 500 {
		t.Errorf("fit() = %d bytes, %v", len(b), err)
	}
	if m, err = decodeMessage(b); err != nil || len(m.Candidates) == 0 {
		t.Errorf("what fits is %+v, %v", m, err)
	}
	if _, err := (message{Why: "why"}).fit(2); err == nil {
		t.Error("what cannot fit does")
	}
}

func TestFlight(t *testing.T) {
	var f flight
	for i := range byte(10) {
		f.keep([]byte{i})
	}
	if got := f.now(); len(got) != maxFlight || got[0][0] != 10-maxFlight || got[maxFlight-1][0] != 9 {
		t.Errorf("the flight is %v", got)
	}
	f.land()
	f.keep([]byte{1})
	if got := f.now(); len(got) != 0 {
		t.Errorf("after the landing it is %v", got)
	}
}
