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

	"golang.org/x/time/rate"

	"peerway/signal"
)

// A post office joins couriers by their addresses. It delivers at once, and loses what it
// is told to.
type postOffice struct {
	mu    sync.Mutex
	sent  []time.Duration // when each packet was, since begun
	begun time.Time
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
	l.courier = &courier{
		identity: signal.NewIdentity(),
		write:    func(packet []byte, to netip.AddrPort) error { o.carry(packet, l.at, to); return nil },
		local:    func(a netip.AddrPort) (netip.AddrPort, bool) { return a, a.Addr().IsPrivate() },
		allowed:  func(id signal.PeerID) bool { return len(allowed) == 0 || slices.Contains(allowed, id) },
		take: func(_ signal.PeerID, message []byte, _ netip.AddrPort) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.taken = append(l.taken, message)
		},
		log:     slog.New(slog.DiscardHandler),
		queue:   make(chan letter, maxQueue),
		waiting: make(map[proof]chan<- netip.AddrPort),
	}
	o.to[l.at] = l.courier
	running.Go(func() { l.run(ctx) })
	return l
}

func (o *postOffice) carry(packet []byte, from, to netip.AddrPort) {
	o.mu.Lock()
	if packet[0] == typeLetter {
		o.sent = append(o.sent, time.Since(o.begun))
	}
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

// TestRepetition loses letters and acknowledgements.
func TestRepetition(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		lost := 0
		o.lose = func([]byte, netip.AddrPort) bool { lost++; return lost <= 4 && lost != 3 }
		_, err := alice.send(t.Context(), bob.identity.PeerID(), []byte("hello"), places(bob.at))
		if err != nil {
			t.Fatal(err)
		}
		// The third arrives, but not its acknowledgement.
		ms := time.Millisecond
		if want := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms}; !slices.Equal(o.sent, want) {
			t.Errorf("letters are sent at %v, want %v", o.sent, want)
		}
		if got := len(bob.messages()); got != 1 {
			t.Errorf("bob has %d messages, want 1", got)
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

// TestStrangers sends what must cost nothing.
func TestStrangers(t *testing.T) {
	inOffice(t, func(t *testing.T, o *postOffice, alice, bob *letterbox) {
		eve, to := signal.NewIdentity(), bob.identity.PeerID()
		sealed, err := eve.Seal(to, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		forged := appendLetter(nil, alice.identity.PeerID(), to, sealed)
		genuine, err := alice.identity.Seal(to, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		letter := appendLetter(nil, alice.identity.PeerID(), to, genuine)
		answered := 0
		o.lose = func([]byte, netip.AddrPort) bool { answered++; return false }
		bob.deliver(appendLetter(nil, eve.PeerID(), to, sealed), alice.at)       // not allowed
		bob.deliver(forged, alice.at)                                            // not alice's
		bob.deliver(letter, netip.MustParseAddrPort("203.0.113.1:1"))            // from the Internet
		bob.deliver(appendAck(nil, proof{}), alice.at)                           // of nothing
		bob.deliver([]byte{typeLetter}, alice.at)                                // nothing
		bob.deliver(append([]byte{typeLetter}, make([]byte, 2000)...), alice.at) // too much
		synctest.Wait()
		if answered != 0 || len(bob.messages()) != 0 {
			t.Errorf("%d answers, messages %q; want none", answered, bob.messages())
		}
		bob.deliver(letter, alice.at)
		synctest.Wait()
		if answered != 1 || len(bob.messages()) != 1 {
			t.Errorf("%d answers, messages %q; want one each", answered, bob.messages())
		}
	})
}

// TestOpeningIsLimited floods a courier with letters that must be opened to find out that
// they are forged.
func TestOpeningIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		bob := &courier{
			identity: signal.NewIdentity(), log: slog.New(slog.DiscardHandler),
			write: func([]byte, netip.AddrPort) error { return nil },
			take:  func(signal.PeerID, []byte, netip.AddrPort) { opened++ },
		}
		alice := signal.NewIdentity()
		var known openedLetters
		limit := rate.NewLimiter(openRate, openBurst)
		flood := func(letters int) {
			for range letters {
				sealed, err := alice.Seal(bob.identity.PeerID(), []byte(rand.Text()))
				if err != nil {
					t.Fatal(err)
				}
				bob.open(letter{from: alice.PeerID(), sealed: sealed}, &known, limit)
			}
		}
		flood(2 * openBurst)
		if opened != openBurst {
			t.Errorf("%d letters are opened at once, want %d", opened, openBurst)
		}
		for range 10 {
			time.Sleep(time.Second)
			flood(openRate)
		}
		if want := openBurst + 10*openRate; opened != want || len(known.letters) != maxOpened {
			t.Errorf("%d letters are opened in 10 s and %d known, want %d and %d", opened, len(known.letters), want, maxOpened)
		}
	})
}
