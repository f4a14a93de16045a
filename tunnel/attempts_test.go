package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"peerway/tunnel/punch"
)

// A desert is a finder, and a mapper, that nobody answers.
type desert struct {
	*punch.Puncher
	sent atomic.Int64 // packets
	own  []bool       // of each attempt
	err  error        // of those that begin
}

func newDesert() *desert {
	d := &desert{}
	d.Puncher = punch.New(punch.Config{
		Port:       4444,
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil },
		Write:      func([]byte, netip.AddrPort) error { d.sent.Add(1); return nil },
		Adopt:      func(context.Context, *net.UDPConn, netip.AddrPort) {},
	})
	return d
}

func (d *desert) attempt(ctx context.Context, config punch.AttemptConfig) (*punch.Attempt, error) {
	d.own = append(d.own, config.Own)
	config.Own = false // there are no sockets in a test of time
	if d.err != nil {
		return nil, d.err
	}
	return d.Dial(ctx, config)
}

func (d *desert) stunServers() []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:3478")}
}

func (d *desert) mappedBy(_ context.Context, _ *punch.Attempt, server netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPortFrom(server.Addr().Next(), 4444), nil
}

// seek returns the attempts of the end that dialed, and what they tell the peer. The test
// closes them.
func (d *desert) seek(t *testing.T) (a *attempts, told *[]message) {
	ctx, cancel := context.WithCancel(t.Context())
	told = new([]message)
	a = &attempts{
		finder: d, mapper: d, ctx: ctx, log: slog.New(slog.DiscardHandler), mapped: make(chan mappedAddress, 4),
		tell:   func(m message) { *told = append(*told, m) },
		config: punch.AttemptConfig{Controlling: true},
	}
	t.Cleanup(func() { cancel(); a.close() })
	return a, told
}

// silent describes a peer that does not answer.
func silent() punch.Description {
	return punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901",
		Candidates: []string{"h4 1 udp 1 198.51.100.9 5555 typ host"}}
}

// Each third attempt after two that have failed has sockets of its own, and the number that
// the peer is told says so.
func TestAttemptsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesert()
		a, told := d.seek(t)
		for range 6 {
			a.advance()
			if !a.begin(time.Now(), message{Kind: punchOffer}) {
				t.Fatal("an attempt does not begin")
			}
			a.connect(silent())
			if e, ok := (<-events(a.trying)).(punch.Failed); !ok {
				t.Fatalf("event %T, want Failed", e)
			}
			a.failed()
		}
		if want := []bool{false, false, true, false, false, true}; !slices.Equal(d.own, want) {
			t.Errorf("own sockets %v, want %v", d.own, want)
		}
		for i, m := range *told {
			if m.Kind != punchOffer || isOwn(m.Attempt) != d.own[i] || i > 0 && m.Attempt <= (*told)[i-1].Attempt {
				t.Errorf("message %d: kind %d, attempt %d", i, m.Kind, m.Attempt)
			}
		}
	})
}

// What is said about an older attempt, or known of it, does not go into the one that replaced it.
func TestAttemptIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesert()
		a, told := d.seek(t)
		a.advance()
		a.begin(time.Now(), message{Kind: punchOffer})
		first, known := a.trying, <-a.mapped
		a.advance()
		a.begin(time.Now(), message{Kind: punchOffer})
		if _, open := <-first.Events(); open {
			t.Error("the first attempt goes on")
		}
		a.connect(punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"})
		a.hearMore(message{Kind: candidates, Attempt: a.number - 1, Candidates: silent().Candidates})
		a.learned(known)
		time.Sleep(time.Second)
		if n := len(*told); n != 2 || d.sent.Load() != 0 {
			t.Errorf("%d messages and %d packets because of the first attempt", n-2, d.sent.Load())
		}
		a.hearMore(message{Kind: candidates, Attempt: a.number, Candidates: silent().Candidates})
		a.learned(<-a.mapped)
		time.Sleep(time.Second)
		if n := len(*told); n != 3 || (*told)[2].Attempt != a.number || d.sent.Load() == 0 {
			t.Errorf("%d messages and %d packets of the second attempt", n-2, d.sent.Load())
		}
	})
}

// The peer is told of an attempt that cannot begin, without candidates.
func TestAttemptDoesNotBegin(t *testing.T) {
	d := newDesert()
	d.err = errors.New("no sockets")
	a, told := d.seek(t)
	a.advance()
	if a.begin(time.Now(), message{Kind: punchOffer}) || a.trying != nil {
		t.Error("it begins")
	}
	a.connect(silent())
	a.hearMore(message{Kind: candidates, Attempt: a.number})
	if len(*told) != 1 || (*told)[0].Punch == nil || (*told)[0].Punch.Ufrag != "" {
		t.Errorf("told %v", *told)
	}
}

// A wish of the peer for what has just begun is not granted, and many are not.
func TestAttemptsWished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newDesert().seek(t)
		begun := time.Now()
		a.begin(begun, message{Kind: punchOffer})
		if a.wanted(begun.Add(attemptEvery / 2)) {
			t.Error("an attempt is replaced at once")
		}
		granted := 0
		for range 100 {
			if a.wanted(begun.Add(attemptEvery)) {
				granted++
			}
		}
		if granted != attemptsAtOnce {
			t.Errorf("%d wishes are granted, want %d", granted, attemptsAtOnce)
		}
	})
}
