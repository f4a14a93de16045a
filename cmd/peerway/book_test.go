package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/signal"
)

func newTestBook(t *testing.T) *book {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	b, err := openBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func add(t *testing.T, b *book, name string) (signal.PeerID, string) {
	t.Helper()
	id := signal.NewIdentity().PeerID()
	got, err := b.add(id, name, "203.0.113.10:7443")
	if err != nil {
		t.Fatal(err)
	}
	return id, got
}

// A peer cannot take the name, and with it the viewers, of another.
func TestNamesAreNotTakenOver(t *testing.T) {
	b := newTestBook(t)
	home, _ := add(t, b, "home")
	other, name := add(t, b, "home")
	if name != "home-2" {
		t.Errorf("the second home is called %q, want home-2", name)
	}
	if id, _ := b.id("home"); id != home {
		t.Error("the second home took the first one's name")
	}
	// Neither by pairing again, nor by what the server says.
	if name, err := b.add(other, "home", ""); name != "home-2" || err != nil {
		t.Errorf("the second home, paired again, is called %q, %v", name, err)
	}
	if name, _, _ := b.note(&signal.Presence{Peer: other, Name: "home", Online: true}); name != "home-2" {
		t.Errorf("the server renamed a peer to %q", name)
	}
	again, err := openBook(b.dir)
	if err != nil || !reflect.DeepEqual(again.names(), []string{"home", "home-2"}) {
		t.Errorf("remembered: %v, %v", again.names(), err)
	}
}

func TestFreeName(t *testing.T) {
	long := strings.Repeat("a", 31) + "b"
	var peers []state.Peer
	for range 12 {
		name := freeName(long, peers)
		if err := signal.ValidName(name); err != nil {
			t.Error(err)
		}
		peers = append(peers, state.Peer{Name: name})
	}
	if got, want := peers[11].Name, strings.Repeat("a", 29)+"-12"; got != want {
		t.Errorf("the twelfth is called %q, want %q", got, want)
	}
}

func TestNotePresence(t *testing.T) {
	b := newTestBook(t)
	id, _ := add(t, b, "home")
	stranger := signal.NewIdentity().PeerID()
	if _, _, ok := b.note(&signal.Presence{Peer: stranger, Name: "x", Online: true}); ok {
		t.Error("a stranger is in the book")
	}
	services := []signal.Service{{Name: "cam", Scheme: "rtsp"}, {Name: "Bad name", Scheme: "http"}, {Name: "x", Scheme: "gopher"}}
	p := signal.Presence{Peer: id, Online: true, Services: services}
	b.note(&p)
	b.note(&signal.Presence{Peer: id}) // gone, and the server says no more of it
	got := b.report(func(peer string, s signal.Service) string {
		return map[string]string{"cam": "rtsp://here/" + peer}[s.Name]
	}, "203.0.113.10:7443")
	want := []peerReport{{Name: "home", ID: id.String(), Services: []string{"cam"}, URLs: map[string]string{"cam": "rtsp://here/home"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("report() = %+v, want %+v", got, want)
	}
}

// What a peer exposes is remembered for the next life of the process.
func TestServicesAreRemembered(t *testing.T) {
	b := newTestBook(t)
	home, _ := add(t, b, "home")
	office, _ := add(t, b, "office")
	log := slog.New(slog.DiscardHandler)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var saving sync.WaitGroup
		saving.Go(func() { b.Run(ctx, log) })
		remembered := func() []peerReport {
			t.Helper()
			synctest.Wait()
			again, err := openBook(b.dir)
			if err := errors.Join(err, again.recall(log)); err != nil {
				t.Fatal(err)
			}
			return again.report(func(string, signal.Service) string { return "" }, "203.0.113.10:7443")
		}
		say := func(id signal.PeerID, online bool, services ...signal.Service) {
			b.note(&signal.Presence{Peer: id, Online: online, Services: services})
		}
		cam, web := signal.Service{Name: "cam", Scheme: "rtsp"}, signal.Service{Name: "web", Scheme: "http"}
		want := []peerReport{
			{Name: "home", ID: home.String(), Services: []string{"cam", "web"}, Remembered: true},
			{Name: "office", ID: office.String(), Services: []string{}},
		}
		say(home, true, cam, web)
		if got := remembered(); !reflect.DeepEqual(got, want) {
			t.Errorf("remembered: %+v, want %+v", got, want)
		}
		say(home, false) // it is away, and its services stay
		say(office, true, web)
		if got := remembered(); !reflect.DeepEqual(got, want) {
			t.Errorf("saved too often: %+v", got)
		}
		time.Sleep(saveEvery)
		want[1].Services, want[1].Remembered = []string{"web"}, true
		if got := remembered(); !reflect.DeepEqual(got, want) {
			t.Errorf("remembered: %+v, want %+v", got, want)
		}
		say(home, true, cam)
		cancel() // with something to save
		saving.Wait()
		want[0].Services = []string{"cam"}
		if got := remembered(); !reflect.DeepEqual(got, want) {
			t.Errorf("remembered: %+v, want %+v", got, want)
		}
	})
}

// A damaged file of what can be asked for again is no reason to end.
func TestDamagedServicesAreForgotten(t *testing.T) {
	b := newTestBook(t)
	id, _ := add(t, b, "home")
	file := filepath.Join(b.dir.Path(), "services")
	if err := os.WriteFile(file, []byte(id.String()+" cam rtsp\ngarbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	err := b.recall(slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil || len(b.services("home")) != 0 || strings.Count(said.String(), "level=WARN") != 1 || !strings.Contains(said.String(), file+":2: ") {
		t.Errorf("recall() = %v; home has %v; said %q", err, b.services("home"), said.String())
	}
	b.note(&signal.Presence{Peer: id, Online: true, Services: []signal.Service{{Name: "web", Scheme: "http"}}})
	b.save(slog.New(slog.DiscardHandler))
	if again, err := b.dir.Services(); err != nil || len(again[id]) != 1 {
		t.Errorf("written anew: %v, %v", again, err)
	}
}

func TestBookIsBounded(t *testing.T) {
	b := newTestBook(t)
	for i := range signal.MaxAllowed {
		b.peers = append(b.peers, state.Peer{ID: signal.NewIdentity().PeerID(), Name: fmt.Sprint("p", i)})
	}
	if _, err := b.add(signal.NewIdentity().PeerID(), "home", ""); err == nil {
		t.Error("one too many was added")
	}
	if _, err := b.add(b.peers[0].ID, "home", ""); err != nil {
		t.Errorf("a known peer, paired again: %v", err)
	}
}

// TestPairedElsewhere: who changes to another signal server leaves the peers of the old one.
func TestPairedElsewhere(t *testing.T) {
	b := newTestBook(t)
	add(t, b, "home") // at 203.0.113.10
	for server, want := range map[string]string{"203.0.113.10:7443": "", "198.51.100.1:7443": "203.0.113.10:7443"} {
		nowhere := func(string, signal.Service) string { return "" }
		if got := b.report(nowhere, server)[0].PairedAt; got != want {
			t.Errorf("at %s home was paired at %q, want %q", server, got, want)
		}
	}
}
