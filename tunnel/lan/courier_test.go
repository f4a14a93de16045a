package lan

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
)

// A post office joins couriers by their addresses. It delivers at once, and loses what it
// is told to.
type postOffice struct {
	mu    sync.Mutex
	sent  []time.Duration // when each packet was, since begun
	begun time.Time
	heard [][]byte // all packets
	to    map[netip.AddrPort]*courier
	lose  func(packet []byte, to netip.AddrPort) bool
}

func newPostOffice() *postOffice {
	return &postOffice{begun: time.Now(), to: make(map[netip.AddrPort]*courier)}
}

// A letterbox is what a courier has taken.
type letterbox struct {
	*courier
	at netip.AddrPort

	mu    sync.Mutex
	taken [][]byte
}

func (l *letterbox) messages() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.taken)
}

// add runs a courier until ctx is done.
func (o *postOffice) add(ctx context.Context, running *sync.WaitGroup, at string, allowed ...signal.PeerID) *letterbox {
	l := &letterbox{at: netip.MustParseAddrPort(at)}
	cfg := Config{
		Identity: signal.NewIdentity(),
		Write:    func(packet []byte, to netip.AddrPort) error { o.carry(packet, l.at, to); return nil },
		Allowed:  func(id signal.PeerID) bool { return len(allowed) == 0 || slices.Contains(allowed, id) },
		Take: func(_ signal.PeerID, message []byte, _ netip.AddrPort) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.taken = append(l.taken, message)
		},
		Log: slog.New(slog.DiscardHandler),
	}
	local := func(a netip.AddrPort) (netip.AddrPort, bool) { return a, a.Addr().IsPrivate() }
	l.courier = newCourier(cfg, newCorrespondents(cfg.Identity), local)
	o.to[l.at] = l.courier
	running.Go(func() { l.run(ctx) })
	return l
}

func (o *postOffice) carry(packet []byte, from, to netip.AddrPort) {
	o.mu.Lock()
	if packet[0] == typeLetter {
		o.sent = append(o.sent, time.Since(o.begun))
	}
	o.heard = append(o.heard, bytes.Clone(packet))
	lost := o.lose != nil && o.lose(packet, to)
	c := o.to[to]
	o.mu.Unlock()
	if c != nil && !lost {
		c.deliver(packet, from)
	}
}

// places returns a closed channel of places.
func places(list ...netip.AddrPort) <-chan netip.AddrPort {
	c := make(chan netip.AddrPort, len(list))
	for _, at := range list {
		c <- at
	}
	close(c)
	return c
}

// inOffice calls f with a post office in virtual time.
func inOffice(t *testing.T, f func(t *testing.T, o *postOffice, alice, bob *letterbox)) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := newPostOffice()
		alice := o.add(ctx, &running, "10.0.0.1:1")
		f(t, o, alice, o.add(ctx, &running, "10.0.0.2:1", alice.identity.PeerID()))
	})
}

func TestDelivery(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		liar := netip.MustParseAddrPort("10.0.0.66:1")
		message := []byte("hello")
		at, err := alice.send(t.Context(), bob.identity.PeerID(), message, places(liar, bob.at))
		if at != bob.at || err != nil {
			t.Errorf("send() = %v, %v; want %v", at, err, bob.at)
		}
		if got := bob.messages(); len(got) != 1 || !bytes.Equal(got[0], message) {
			t.Errorf("bob has %q", got)
		}
		if took := time.Since(o.begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestRepetition loses letters and what comes back.
func TestRepetition(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		lost := 0
		o.lose = func([]byte, netip.AddrPort) bool { lost++; return lost <= 6 && lost != 3 && lost != 5 }
		_, err := alice.send(t.Context(), bob.identity.PeerID(), []byte("hello"), places(bob.at))
		if err != nil {
			t.Fatal(err)
		}
		// Of the third the challenge is lost, of the fourth too, but then comes one.
		ms := time.Millisecond
		if want := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 750 * ms}; !slices.Equal(o.sent, want) {
			t.Errorf("letters are sent at %v, want %v", o.sent, want)
		}
		if got := len(bob.messages()); got != 1 {
			t.Errorf("bob has %d messages, want 1", got)
		}
		o.sent, o.begun = nil, time.Now()
		if _, err := alice.send(t.Context(), bob.identity.PeerID(), []byte("again"), places(bob.at)); err != nil || len(o.sent) != 1 {
			t.Errorf("with a cookie, %d letters are sent, %v", len(o.sent), err)
		}
		time.Sleep(3 * cookieLife) // which is good no more
		o.sent = nil
		if _, err := alice.send(t.Context(), bob.identity.PeerID(), []byte("later"), places(bob.at)); err != nil || len(o.sent) != 2 {
			t.Errorf("with an old cookie, %d letters are sent, %v", len(o.sent), err)
		}
		if got := len(bob.messages()); got != 3 {
			t.Errorf("bob has %d messages, want 3", got)
		}
	})
}

func TestNoDelivery(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		to, message := bob.identity.PeerID(), []byte("hello")
		if _, err := alice.send(t.Context(), to, message, places()); !errors.Is(err, ErrNobody) {
			t.Errorf("to nobody: %v", err)
		}
		if _, err := alice.send(t.Context(), to, message, places(netip.MustParseAddrPort("203.0.113.1:1"))); !errors.Is(err, ErrNobody) {
			t.Errorf("to an address of the Internet: %v", err)
		}
		if _, err := alice.send(t.Context(), to, make([]byte, MaxMessage+1), places(bob.at)); err == nil {
			t.Error("too long a message was sent")
		}
		if len(o.sent) != 0 {
			t.Errorf("%d letters were sent", len(o.sent))
		}

		o.begun = time.Now()
		if _, err := alice.send(t.Context(), to, message, places(netip.MustParseAddrPort("10.0.0.66:1"))); !errors.Is(err, ErrSilent) {
			t.Errorf("to a liar: %v", err)
		}
		if took := time.Since(o.begun); took != deliverIn || len(o.sent) != 6 {
			t.Errorf("given up after %v and %d letters, want %v and 6", took, len(o.sent), deliverIn)
		}
		cause := errors.New("cause")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if _, err := alice.send(ctx, to, message, nil); !errors.Is(err, cause) {
			t.Errorf("cut off: %v", err)
		}
		if len(alice.waiting) != 0 {
			t.Errorf("%d acknowledgements are still waited for", len(alice.waiting))
		}
	})
}

// write returns a letter of one peer to another, with a cookie.
func write(t *testing.T, from signal.Identity, to signal.PeerID, as signal.PeerID, with cookie) []byte {
	t.Helper()
	sealed, err := from.Seal(to, []byte(rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	l := letter{from: as, cookie: with, sealed: sealed}
	l.tag = l.tagBy(&correspond(t, from, to).out)
	return l.append(nil, to)
}

// TestStrangers sends what must cost nothing.
func TestStrangers(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		eve, to, id := signal.NewIdentity(), bob.identity.PeerID(), alice.identity.PeerID()
		good := bob.baker.bake(id, alice.at)
		letter := write(t, alice.identity, to, id, good)
		other := netip.MustParseAddrPort("10.0.0.3:1")
		bob.deliver(write(t, eve, to, eve.PeerID(), good), alice.at)             // not allowed
		bob.deliver(write(t, eve, to, id, good), alice.at)                       // not alice's
		bob.deliver(letter, netip.MustParseAddrPort("203.0.113.1:1"))            // from the Internet
		bob.deliver(appendAck(nil, tag{}), alice.at)                             // of nothing
		bob.deliver((&challenge{}).append(nil), alice.at)                        // of nothing
		bob.deliver([]byte{typeLetter}, alice.at)                                // nothing
		bob.deliver(append([]byte{typeLetter}, make([]byte, 2000)...), alice.at) // too much
		synctest.Wait()
		if len(o.heard) != 0 || len(bob.messages()) != 0 {
			t.Errorf("%d answers, messages %q; want none", len(o.heard), bob.messages())
		}
		bob.deliver(letter, other)                                        // from elsewhere
		bob.deliver(write(t, alice.identity, to, id, cookie{}), alice.at) // without a cookie
		synctest.Wait()
		if len(o.heard) != 2 || o.heard[0][0] != typeChallenge || o.heard[1][0] != typeChallenge || len(bob.messages()) != 0 {
			t.Errorf("%d answers, messages %q; want 2 challenges", len(o.heard), bob.messages())
		}
		bob.deliver(letter, alice.at)
		synctest.Wait()
		if len(o.heard) != 3 || o.heard[2][0] != typeAck || len(bob.messages()) != 1 {
			t.Errorf("%d answers, messages %q; want an acknowledgement", len(o.heard), bob.messages())
		}
	})
}

// TestReplay repeats all that was heard of an introduction: at once, later, to another life of
// the same peer, and from elsewhere.
func TestReplay(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		if _, err := alice.send(t.Context(), bob.identity.PeerID(), []byte("hello"), places(bob.at)); err != nil {
			t.Fatal(err)
		}
		heard := slices.Clone(o.heard)
		replay := func(at netip.AddrPort, times int) (replies int) {
			before := len(o.heard)
			for range times {
				for _, packet := range heard {
					bob.deliver(packet, at)
					synctest.Wait()
				}
			}
			return len(o.heard) - before
		}
		eve := netip.MustParseAddrPort("10.0.0.66:1")
		for _, at := range []netip.AddrPort{alice.at, eve} {
			if got := replay(at, 10*maxReplies); got > 2*maxReplies {
				t.Errorf("from %v, %d letters get %d replies, want %d at most", at, 10*maxReplies*len(heard), got, 2*maxReplies)
			}
		}
		time.Sleep(3 * cookieLife)
		replay(alice.at, 1)
		restarted := newCourier(Config{Identity: bob.identity, Write: bob.write, Allowed: bob.allowed, Take: bob.take, Log: bob.log},
			newCorrespondents(bob.identity), bob.local)
		for _, packet := range heard {
			restarted.deliver(packet, alice.at)
		}
		if len(restarted.queue) != 0 {
			t.Error("after a restart, an old letter is opened")
		}
		if got := len(bob.messages()); got != 1 {
			t.Errorf("bob has %d messages, want 1", got)
		}
	})
}

// TestFloods lets an introduction take place beside all that a network can be full of: what
// strangers make up, from one address and from forged ones, what they have overheard, and
// what a paired peer says.
func TestFloods(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		friend, eve, to := signal.NewIdentity(), signal.NewIdentity(), bob.identity.PeerID()
		known := []signal.PeerID{alice.identity.PeerID(), friend.PeerID()}
		bob.allowed = func(id signal.PeerID) bool { return slices.Contains(known, id) }
		at := func(i int) netip.AddrPort { // somewhere
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1)
		}
		forged := write(t, eve, to, known[0], cookie{})
		overheard := write(t, alice.identity, to, known[0], bob.baker.bake(known[0], alice.at))
		flood := func() {
			for i := range 1000 {
				bob.deliver(forged, at(0))
				bob.deliver(forged, at(i))
				bob.deliver(forged, alice.at)
				bob.deliver(overheard, at(i))
				bob.deliver(overheard, alice.at)
			}
			for range 4 * openBurst {
				bob.deliver(write(t, friend, to, friend.PeerID(), bob.baker.bake(friend.PeerID(), at(1))), at(1))
			}
			synctest.Wait()
		}
		flood()
		begun := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() {
			if _, err := alice.send(t.Context(), to, []byte("hello"), places(bob.at)); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > firstPause {
				t.Errorf("it took %v, want %v at most", took, firstPause)
			}
		})
		for range 10 {
			flood()
			time.Sleep(firstPause / 10)
		}
		sending.Wait()
		for _, c := range bob.peers.known {
			if len(c.opened) > maxOpened {
				t.Errorf("%d letters are remembered", len(c.opened))
			}
		}
		if len(bob.peers.known) != 2 {
			t.Errorf("%d peers are remembered, want 2", len(bob.peers.known))
		}
	})
}

// TestOpeningIsLimited lets a peer that is allowed say more than it may.
func TestOpeningIsLimited(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		to, id := bob.identity.PeerID(), alice.identity.PeerID()
		flood := func(letters int) {
			for range letters {
				bob.deliver(write(t, alice.identity, to, id, bob.baker.bake(id, alice.at)), alice.at)
				synctest.Wait()
			}
		}
		flood(2 * openBurst)
		if got := len(bob.messages()); got != openBurst {
			t.Errorf("%d letters are opened at once, want %d", got, openBurst)
		}
		for range 60 {
			time.Sleep(time.Second)
			flood(2 * openRate)
		}
		peer := correspondentOf(t, bob.courier, id)
		if got, want := len(bob.messages()), openBurst+60*openRate; got != want || len(peer.opened) != maxOpened {
			t.Errorf("%d letters are opened in a minute and %d known, want %d and %d", got, len(peer.opened), want, maxOpened)
		}
		if most := openBurst + openRate*int(2*cookieLife/time.Second); most > maxOpened {
			t.Errorf("%d letters can be opened while a cookie is good, and only %d are known when they come again", most, maxOpened)
		}
	})
}

func correspondentOf(t *testing.T, c *courier, id signal.PeerID) *correspondent {
	t.Helper()
	peer, err := c.peers.of(id)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func TestCorrespondentsAreBounded(t *testing.T) {
	cs := newCorrespondents(signal.NewIdentity())
	for range maxCorrespondents + 10 {
		if _, err := cs.of(signal.NewIdentity().PeerID()); err != nil {
			t.Fatal(err)
		}
	}
	if len(cs.known) != maxCorrespondents {
		t.Errorf("%d are known, want %d", len(cs.known), maxCorrespondents)
	}
	c := correspond(t, cs.identity, signal.NewIdentity().PeerID())
	for i := range 2 * maxAnswered {
		q := question{nonce: [nonceSize]byte{byte(i), byte(i >> 8)}}
		if !c.isNew(q) || c.isNew(q) {
			t.Fatal("a question is new, once")
		}
		c.hold(held{netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i)), cookie{}})
	}
	if len(c.answered) != maxAnswered || len(c.cookies) != maxCookies {
		t.Errorf("%d questions and %d cookies are known, want %d and %d", len(c.answered), len(c.cookies), maxAnswered, maxCookies)
	}
}

// BenchmarkHostile is what packets of strangers cost.
func BenchmarkHostile(b *testing.B) {
	alice, bob, toBob, _ := two(b)
	cfg := Config{Identity: bob, Allowed: func(signal.PeerID) bool { return true }, Log: slog.New(slog.DiscardHandler)}
	c := newCourier(cfg, newCorrespondents(bob), func(a netip.AddrPort) (netip.AddrPort, bool) { return a, true })
	sealed, err := alice.Seal(bob.PeerID(), make([]byte, MaxMessage))
	if err != nil {
		b.Fatal(err)
	}
	l := letter{from: alice.PeerID(), sealed: sealed}
	forged := l.append(nil, bob.PeerID())
	l.tag = l.tagBy(&toBob.out)
	overheard := l.append(nil, bob.PeerID())
	at := netip.MustParseAddrPort("10.0.0.1:1")
	for name, packet := range map[string][]byte{"forged": forged, "overheard": overheard} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.deliver(packet, at)
			}
		})
	}
	b.Run("opened", func(b *testing.B) {
		for b.Loop() {
			bob.Open(alice.PeerID(), sealed)
		}
	})
}
