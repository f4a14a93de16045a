package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apernet/quic-go"

	"peerway/signal"
	"peerway/tunnel/lane"
	"peerway/tunnel/path"
	"peerway/tunnel/punch"
)

// up returns the tunnel of e, which has one peer.
func (e *end) up(t testing.TB) *session {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, sl := range e.peers {
		if sl.up != nil {
			return sl.up
		}
	}
	t.Fatal("there is no tunnel")
	return nil
}

// TestUnansweredHandshake: a peer that was told and does not answer is one that
// no packet gets through to, and has the whole time for it.
func TestUnansweredHandshake(t *testing.T) {
	for _, err := range []error{&quic.IdleTimeoutError{}, &quic.HandshakeTimeoutError{}} {
		if got := unanswered(err); !errors.Is(got, ErrNoPath) {
			t.Errorf("unanswered(%T) = %v, want %v", err, got, ErrNoPath)
		}
	}
	if got := unanswered(io.EOF); errors.Is(got, ErrNoPath) {
		t.Errorf("unanswered(%v) = %v", io.EOF, got)
	}
	if got := quicConfig(new(windows)).HandshakeIdleTimeout; got < handshakeIn {
		t.Errorf("QUIC gives a silent peer up after %v, want %v", got, handshakeIn)
	}
}

// TestWindows: what the windows of tunnels grow by is bounded, and given back when
// they end.
func TestWindows(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	w, conn := a.transport.windows, a.up(t).conn
	before := w.more.Load()
	if !w.allow(conn, uint64(moreWindow-before)) || w.allow(conn, 1) {
		t.Errorf("%d bytes more were not allowed, or one byte more than that", moreWindow-before)
	}
	a.kill()
	for end := time.Now().Add(10 * time.Second); w.more.Load() != 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are still granted after the end", w.more.Load())
		}
	}
}

// TestAwait: whoever finds a tunnel just before it ends goes on to another one.
func TestAwait(t *testing.T) {
	for _, test := range []struct {
		wasUp bool
		err   error
		again bool
	}{
		{true, errIdle, true},
		{true, ErrPeerLost, true},
		{false, errSuperseded, true},
		{false, signal.ErrOffline, false},
	} {
		for range 50 { // select takes either of two channels
			s := &session{ready: make(chan struct{}), retired: make(chan struct{}), err: test.err}
			if test.wasUp {
				close(s.ready)
			}
			close(s.retired)
			if again, err := s.await(t.Context()); err != nil && again != test.again {
				t.Fatalf("await of a session that was up (%v) and ended with %v: again is %v", test.wasUp, test.err, again)
			}
		}
	}
}

// TestDialAfterTheConnection opens streams around the moment at which the peer
// closes the connection: none of them may fail to be opened.
func TestDialAfterTheConnection(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	for i := range 30 {
		if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		conn := a.up(t).conn
		b.up(t).cancel(errReplaced)
		<-conn.Context().Done()
		st, err := a.DialContext(t.Context(), b.id, "echo", lane.Dedicated)
		if err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		st.Close()
	}
}

// TestLateConnection offers a connection to a session that has ended.
func TestLateConnection(t *testing.T) {
	s := newSession(&Manager{life: t.Context(), log: New(Config{}).log}, signal.PeerID{}, 1, answering)
	if !s.offer(nil) {
		t.Error("a session that waits for a connection does not take it")
	}
	<-s.conns
	s.m.peers = map[signal.PeerID]*slot{}
	s.retire(ErrNoPath)
	if s.offer(nil) {
		t.Error("a connection that nobody will close was taken")
	}
}

// TestControlThatDoesNotMove ends the tunnel when a message would be lost.
func TestControlThatDoesNotMove(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	s := a.up(t)
	c := newControl(s.control.stuck) // whose messages nobody takes
	for range outgoing {
		c.send(message{Kind: idleAsk})
	}
	if err := s.life.Err(); err != nil {
		t.Fatalf("the tunnel has ended while there was room: %v", err)
	}
	c.send(message{Kind: idleAsk})
	<-s.retired
	if !errors.Is(s.err, errBroken) {
		t.Errorf("the tunnel ended with %v, want %v", s.err, errBroken)
	}
}

// TestAttemptsThatThePeerAsksFor are not made faster than they are of use.
func TestAttemptsThatThePeerAsksFor(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &climber{s: b.up(t), paths: path.NewPaths(), ctx: ctx, out: make(chan message, 8)}
	c.attempts = newAttempts(ctx, c.s, c.tell)
	defer c.attempts.close()
	defer cancel()
	remote := punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}
	for i := range uint32(50) {
		c.hear(message{Kind: punchOffer, Attempt: i + 1, Punch: &remote})
	}
	if c.attempts.number != attemptsAtOnce {
		t.Errorf("%d attempts, want %d", c.attempts.number, attemptsAtOnce)
	}
	for i := range 50 {
		c.up(punch.Selected{Remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.1:%d", 1000+i))})
	}
	if got := len(c.sources); got != maxSources || c.sources[got-1].Port() != 1049 {
		t.Errorf("sources = %v, want the last %d", c.sources, maxSources)
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	count := func() (n int) {
		for range 100 {
			if p.allow(now) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 8}, {999 * time.Millisecond, 0}, {time.Millisecond, 1}, {3 * time.Second, 3}, {time.Hour, 8}} {
		now = now.Add(step.after)
		if got := count(); got != step.want {
			t.Errorf("after another %v: %d, want %d", step.after, got, step.want)
		}
	}
}

// TestSlept: a peer that has given the tunnel up while this machine slept is
// found out long before QUIC does, one that has not keeps it.
func TestSlept(t *testing.T) {
	for name, gone := range map[string]bool{"the peer has gone": true, "the peer is there": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newPair(t, false, 0, echo)
			var ahead atomic.Int64
			a.cfg.wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			s := a.up(t)
			a.wire.cut.Store(gone)
			b.wire.cut.Store(gone)
			start := time.Now()
			ahead.Store(int64(time.Hour))
			select {
			case <-s.retired:
			case <-time.After(doubtFor + 2*time.Second):
			}
			if took := time.Since(start); gone != (took < doubtFor+2*time.Second) {
				t.Errorf("after %v the tunnel has ended with %v", took, context.Cause(s.life))
			}
		})
	}
}

// TestReplay: what the signal server repeats of an introduction does not disturb
// the tunnel that came of it.
func TestReplay(t *testing.T) {
	me, them := signal.NewIdentity(), signal.NewIdentity()
	m := New(Config{Identity: me, Allowed: func(signal.PeerID) bool { return true }})
	m.life = t.Context()
	s := newSession(m, them.PeerID(), 7, answering)
	m.peers[s.peer] = &slot{up: s}
	deliver := func(k kind) {
		plain, err := message{Kind: k, Session: s.id, Attempt: 1,
			Punch: &punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}}.encode()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := them.Seal(me.PeerID(), plain)
		if err != nil {
			t.Fatal(err)
		}
		m.Deliver(them.PeerID(), sealed)
	}
	for _, k := range []kind{offer, punchOffer, punchReply, punchWish, idleAsk, idleAgree, hello} {
		if deliver(k); len(s.inbox) != 0 {
			t.Errorf("a message of kind %d got into a live tunnel", k)
			<-s.inbox
		}
	}
	if deliver(candidates); len(s.inbox) != 1 {
		t.Error("candidates that were late are lost")
	}
}

// An offer that was overheard, and is told again after its tunnel has ended, does not make
// an end give up a dial of its own.
func TestOldOffer(t *testing.T) {
	a, b := newPair(t, false, time.Hour, echo)
	small, big := a, b
	if bytes.Compare(small.id[:], big.id[:]) > 0 {
		small, big = big, small
	}
	if err := ping(t.Context(), big.Manager, small.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	small.mu.Lock()
	offered := small.peers[big.id].up.id
	small.mu.Unlock()
	plain, err := message{Kind: offer, Session: offered,
		Punch: &punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := big.cfg.Identity.Seal(small.id, plain)
	if err != nil {
		t.Fatal(err)
	}
	big.end(small.id)
	waitNone(t, big.Manager)
	waitNone(t, small.Manager)

	small.wire.cut.Store(true) // the dial will wait
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	waiting.Go(func() { ping(ctx, small.Manager, big.id, []byte("hello")) })
	pending := func() *session {
		small.mu.Lock()
		defer small.mu.Unlock()
		if sl := small.peers[big.id]; sl != nil {
			return sl.pending
		}
		return nil
	}
	for pending() == nil {
		runtime.Gosched()
	}
	mine := pending()
	small.Deliver(big.id, sealed)
	if got := pending(); got != mine {
		t.Errorf("an old offer has taken the place of the dial")
	}
}

// TestHeard: who has a stream learns within seconds that the peer is still there, though the
// stream says nothing, and not when it has gone.
func TestHeard(t *testing.T) {
	a, b := newPair(t, false, 0, echo)
	st, err := a.DialContext(t.Context(), b.id, "echo", lane.Dedicated)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	asked := time.NewTicker(100 * time.Millisecond)
	defer asked.Stop()
	begun, before := time.Now(), st.Heard()
	for times := 0; times < 4; <-asked.C {
		if heard := st.Heard(); heard.After(before) {
			before = heard
			times++
		}
		if time.Since(begun) > 10*time.Second { // QUIC alone would take 15
			t.Fatalf("heard %d times in %v", times, time.Since(begun))
		}
	}
	b.wire.cut.Store(true)
	for ; time.Since(st.Heard()) < 4*time.Second; <-asked.C {
		if time.Since(begun) > 30*time.Second {
			t.Fatal("a peer that is cut off is heard")
		}
	}
}

// TestAskedToEnd: a tunnel that a peer ends because it was asked to has come to its proper end.
func TestAskedToEnd(t *testing.T) {
	gone := fmt.Errorf("control stream: %w: it has ended the tunnel", ErrPeerLost)
	var s session
	if err := s.agreed(gone); err != gone {
		t.Errorf("a tunnel in use: %v", err)
	}
	s.idle.phase = asking
	if err := s.agreed(gone); err != errIdle {
		t.Errorf("an idle one: %v", err)
	}
	if err := s.agreed(errBroken); err != errBroken {
		t.Errorf("of another end: %v", err)
	}
}
