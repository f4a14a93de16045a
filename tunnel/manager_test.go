package tunnel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/tunnel/lane"
)

func TestFirstBytesGoOverTheRelay(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, e := range []*end{a, b} {
		if up := e.Tunnels(); len(up) != 1 || up[0].Path != "relay-ws" {
			t.Errorf("tunnels = %+v, want one on the relay", up)
		}
	}
}

func TestDirectAfterRelay(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	st, err := a.DialContext(t.Context(), b.id, "echo", lane.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	want := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(want)
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { st.Write(want); st.CloseWrite() })
	waitPath(t, a.Manager, "direct")
	waitPath(t, b.Manager, "direct")
	got, err := io.ReadAll(st)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
	// From here on nothing needs the relay.
	a.wire.cut.Store(true)
	b.wire.cut.Store(true)
	if err := ping(t.Context(), b.Manager, a.id, bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Errorf("ping from the other end over the same tunnel: %v", err)
	}
}

// TestFallBack drops the direct path's packets in the middle of a transfer.
func TestFallBack(t *testing.T) {
	a, b := newPair(t, true, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	waitPath(t, a.Manager, "direct")
	waitPath(t, b.Manager, "direct")
	for _, e := range []*end{a, b} {
		e.mu.Lock()
		for _, sl := range e.peers {
			sl.up.route.Forget(sl.up.where.Direct)
		}
		e.mu.Unlock()
	}
	start := time.Now()
	if err := ping(t.Context(), a.Manager, b.id, bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the transfer across the cut took %v", time.Since(start))
}

func TestRefusals(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	st, err := a.DialContext(t.Context(), b.id, "nothing", lane.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_, err = st.Read(make([]byte, 1))
	if refused, ok := errors.AsType[*lane.RefusedError](err); !ok || refused.Code != 7 {
		t.Errorf("Read of a refused stream = %v", err)
	}
	if err := ping(t.Context(), a.Manager, b.id, []byte("x")); err != nil {
		t.Errorf("the right service after a wrong one: %v", err)
	}

	offline := signal.ErrOffline
	a.wire.err.Store(&offline)
	if _, err := a.DialContext(t.Context(), signal.NewIdentity().PeerID(), "echo", lane.Mixed); !errors.Is(err, signal.ErrOffline) {
		t.Errorf("dial of an offline peer = %v, want %v", err, signal.ErrOffline)
	}
}

func TestEndsAfterLinger(t *testing.T) {
	a, b := newPair(t, false, 50*time.Millisecond, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	waitNone(t, a.Manager)
	waitNone(t, b.Manager)
}

// TestDialMeetsTheEnd dials all around the moment at which the tunnel ends, from
// both sides: no dial may fail.
func TestDialMeetsTheEnd(t *testing.T) {
	a, b := newPair(t, false, time.Millisecond, echo)
	var dialing sync.WaitGroup
	for _, ends := range [][2]*end{{a, b}, {b, a}} {
		dialing.Go(func() {
			for i := range 300 {
				if err := ping(t.Context(), ends[0].Manager, ends[1].id, []byte("hello")); err != nil {
					t.Errorf("ping %d: %v", i, err)
					return
				}
				pause := time.NewTimer(time.Duration(rand.IntN(3000)) * time.Microsecond)
				<-pause.C
			}
		})
	}
	dialing.Wait()
}

// TestBothDialAtOnce makes a tunnel from both ends at the same moment, a thousand
// times: each dial succeeds, and there is one tunnel.
func TestBothDialAtOnce(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	a, b := newPair(t, false, time.Hour, echo)
	for i := range rounds {
		var dialing sync.WaitGroup
		start := make(chan struct{})
		for _, ends := range [][2]*end{{a, b}, {b, a}} {
			dialing.Go(func() {
				<-start
				if err := ping(t.Context(), ends[0].Manager, ends[1].id, []byte("hello")); err != nil {
					t.Errorf("round %d: %v", i, err)
				}
			})
		}
		close(start)
		dialing.Wait()
		if t.Failed() {
			return
		}
		if na, nb := len(a.Tunnels()), len(b.Tunnels()); na != 1 || nb != 1 {
			t.Fatalf("round %d: %d and %d tunnels, want one", i, na, nb)
		}
		a.end(b.id)
		waitNone(t, a.Manager)
		waitNone(t, b.Manager)
	}
}

// end ends the tunnel with peer at once.
func (m *Manager) end(peer signal.PeerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sl := m.peers[peer]; sl != nil && sl.up != nil {
		sl.up.cancel(errIdle)
	}
}

// TestKilled ends one process under a stream: the other end's stream fails at
// once, and nothing is left.
func TestKilled(t *testing.T) {
	for _, which := range []string{"dialer", "server", "both"} {
		t.Run(which, func(t *testing.T) {
			a, b := newPair(t, false, 0, echo)
			st, err := a.DialContext(t.Context(), b.id, "echo", lane.Dedicated)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if _, err := st.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			var killing sync.WaitGroup
			if which != "server" {
				killing.Go(a.kill)
			}
			if which != "dialer" {
				killing.Go(b.kill)
			}
			if n, err := st.Read(make([]byte, 1)); err == nil {
				t.Errorf("Read after the end = %d, nil", n)
			}
			killing.Wait()
			waitNone(t, a.Manager)
			waitNone(t, b.Manager)
		})
	}
}

// TestRestarted tells one end that the peer's process is a new one. While the peer
// is heard, that is not true: its streams go on, beside a new tunnel.
func TestRestarted(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	st, err := a.DialContext(t.Context(), b.id, "echo", lane.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	say := func() error {
		if _, err := st.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(st, make([]byte, 1))
		return err
	}
	if err := say(); err != nil {
		t.Fatal(err)
	}
	a.Presence(signal.Presence{Peer: b.id, Online: false})
	if len(a.Tunnels()) != 1 {
		t.Error("a peer that went offline lost its tunnel")
	}
	a.Presence(signal.Presence{Peer: b.id, Online: true, Instance: 99})
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Errorf("a dial after the restart: %v", err)
	}
	if err := say(); err != nil {
		t.Errorf("a stream from before: %v", err)
	}
	heard := time.NewTimer(doubtFor + time.Second)
	<-heard.C
	if err := say(); err != nil {
		t.Errorf("a stream from before, after the doubt: %v", err)
	}

	a.Presence(signal.Presence{Peer: b.id, Online: true, Instance: 100}) // and now it is true
	a.wire.cut.Store(true)
	b.wire.cut.Store(true)
	waitNone(t, a.Manager)
	b.end(a.id)
}

// TestCutOff takes the network from under a tunnel. That the peer is offline, too,
// makes its silence mean something sooner.
func TestCutOff(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	a.cfg.silent = 500 * time.Millisecond
	st, err := a.DialContext(t.Context(), b.id, "echo", lane.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	st.Write([]byte("x"))
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	a.wire.cut.Store(true)
	b.wire.cut.Store(true)
	a.Presence(signal.Presence{Peer: b.id, Online: false})
	if _, err := st.Read(make([]byte, 1)); err == nil {
		t.Error("Read goes on after the peer is gone")
	}
	waitNone(t, a.Manager)
	b.end(a.id)
}

func TestDialGivesUp(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	a.wire.cut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.DialContext(ctx, b.id, "echo", lane.Mixed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial without an answer = %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestGarbage delivers what no honest peer sends.
func TestGarbage(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	random := rand.NewChaCha8([32]byte{1})
	for i := range 2000 {
		p := make([]byte, i%300)
		random.Read(p)
		a.Deliver(b.id, p)
		a.Relayed(random.Uint64(), p)
	}
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Error(err)
	}
}
