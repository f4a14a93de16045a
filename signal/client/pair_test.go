package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/client"
)

func openMailbox(t *testing.T, p *testPeer) *client.Mailbox {
	t.Helper()
	m, err := p.OpenMailbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestPair(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	code, err := signal.ParseCode(m.Code().String())
	if err != nil {
		t.Fatal(err)
	}
	laptop := newPeer(t, s.url, "laptop")
	got, err := client.Pair(t.Context(), client.PairConfig{Code: code, Identity: laptop.identity, Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	want := client.Paired{Peer: home.id(), Name: "home", URL: s.url, MyName: "laptop"}
	if got != want {
		t.Errorf("Pair() = %+v, want %+v", got, want)
	}
	theirs, err := m.Wait(t.Context())
	if err != nil || theirs.Peer != laptop.id() || theirs.Name != "laptop" {
		t.Errorf("Wait() = %+v, %v", theirs, err)
	}
	// Paired peers log in, and see each other.
	got.URL.Secret = signal.Secret{} // a paired peer is known
	same := func(cfg *client.Config) { cfg.Identity = laptop.identity }
	laptop = newPeer(t, got.URL, got.MyName, same).run()
	laptop.want("connected", nil)
	introduce(home, laptop)

	_, err = client.Pair(t.Context(), client.PairConfig{Code: code, Identity: signal.NewIdentity(), Name: "other"})
	wantRefused(t, err, client.CodeUsed)
}

// TestPairIsNotAdmitted: both ends know the reason, and that nobody is paired.
func TestPairIsNotAdmitted(t *testing.T) {
	s := newServer(t)
	full := errors.New("save peers: no space left on device " + strings.Repeat("é", 400))
	var asked client.Paired
	home := newPeer(t, s.url, "home", func(cfg *client.Config) {
		cfg.Admits = func(p client.Paired) error { asked = p; return full }
	}).run()
	m := openMailbox(t, home)
	laptop := signal.NewIdentity()
	_, err := client.Pair(t.Context(), client.PairConfig{Code: m.Code(), Identity: laptop, Name: "laptop"})
	if refused, ok := errors.AsType[*client.NotAdmittedError](err); !ok || refused.Name != "home" || !strings.HasPrefix(full.Error(), refused.Why) {
		t.Errorf("Pair() = %v, want the reason", err)
	}
	if theirs, err := m.Wait(t.Context()); !errors.Is(err, full) || theirs != (client.Paired{}) {
		t.Errorf("Wait() = %+v, %v, want %v", theirs, err, full)
	}
	if asked.Peer != laptop.PeerID() || asked.Name != "laptop" {
		t.Errorf("asked about %+v", asked)
	}
}

func TestPairTakesAFreeName(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	got, err := client.Pair(t.Context(), client.PairConfig{Code: m.Code(), Identity: signal.NewIdentity(), Name: "home"})
	if err != nil || got.MyName != "home-2" {
		t.Fatalf("Pair() = %+v, %v, want the name home-2", got, err)
	}
	if theirs, err := m.Wait(t.Context()); err != nil || theirs.Name != "home-2" {
		t.Errorf("Wait() = %+v, %v", theirs, err)
	}
}

func TestWrongCodesMustWait(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	guess := client.PairConfig{Identity: signal.NewIdentity(), Name: "guesser"}
	for range 5 {
		guess.Code = signal.NewCode(s.url.Addr, s.url.Pin)
		_, err := client.Pair(t.Context(), guess)
		wantRefused(t, err, client.WrongCode)
	}
	guess.Code = m.Code() // right, but too late
	_, err := client.Pair(t.Context(), guess)
	refused := wantRefused(t, err, client.TryLater)
	if refused.RetryAfter <= 50*time.Second || refused.RetryAfter > time.Minute {
		t.Errorf("wait %v, want about a minute", refused.RetryAfter)
	}
}

func TestPairWithAnotherServer(t *testing.T) {
	s, other := newServer(t), newServer(t)
	code := signal.NewCode(s.url.Addr, other.url.Pin)
	_, err := client.Pair(t.Context(), client.PairConfig{Code: code, Identity: signal.NewIdentity(), Name: "laptop"})
	wantRefused(t, err, client.WrongPin)
}

func TestPairWithNobody(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	code := m.Code()
	home.stop()
	pair := client.PairConfig{Code: code, Identity: signal.NewIdentity(), Name: "laptop"}
	if _, err := client.Pair(t.Context(), pair); !errors.Is(err, signal.ErrOffline) {
		t.Errorf("Pair() = %v, want %v", err, signal.ErrOffline)
	}
}

// A mailbox survives the server: the client opens it again.
func TestMailboxIsReopened(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	s.stop()
	home.want("disconnected", nil)
	s.start()
	home.want("connected", nil)
	pair := client.PairConfig{Code: m.Code(), Identity: signal.NewIdentity(), Name: "laptop"}
	if _, err := client.Pair(t.Context(), pair); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClosedMailbox(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home").run()
	m := openMailbox(t, home)
	m.Close()
	if _, err := m.Wait(t.Context()); !errors.Is(err, client.ErrCodeExpired) {
		t.Errorf("Wait() = %v, want %v", err, client.ErrCodeExpired)
	}
	if err := home.Send(t.Context(), home.id(), nil); err == nil { // a round trip
		t.Error("Send to oneself = nil")
	}
	_, err := client.Pair(t.Context(), client.PairConfig{Code: m.Code(), Identity: signal.NewIdentity(), Name: "laptop"})
	if refused := wantRefused(t, err, client.CodeExpired); !strings.Contains(refused.Text, "expired") {
		t.Errorf("text %q", refused.Text)
	}
}

func TestOpenMailboxEndsWithItsContext(t *testing.T) {
	s := newServer(t)
	home := newPeer(t, s.url, "home") // does not run
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTestOver)
	if _, err := home.OpenMailbox(ctx); !errors.Is(err, errTestOver) {
		t.Errorf("OpenMailbox() = %v, want %v", err, errTestOver)
	}
}

// TestPairIsNotKeptWaiting: a person gets to know soon that a server takes connections and says
// nothing.
func TestPairIsNotKeptWaiting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	begun := time.Now()
	_, err = client.Pair(t.Context(), client.PairConfig{
		Code: signal.NewCode(silent.Addr().String(), signal.Pin{}), Identity: signal.NewIdentity(), Name: "laptop",
	})
	if took := time.Since(begun); !errors.Is(err, client.ErrSilent) || took > 10*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}
