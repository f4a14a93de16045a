package wire_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"peerway/integration/leak"
	"peerway/signal"
	"peerway/signal/internal/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A sample is a message as a released version writes it.
type sample struct {
	name string
	kind wire.Type
	id   uint64
	body any // a pointer, or nil
}

func samples() []sample {
	id := signal.PeerID{1, 2, 3}
	return []sample{
		{"challenge", wire.TypeChallenge, 0, &wire.Challenge{Nonce: bytes.Repeat([]byte{1}, 32), Server: bytes.Repeat([]byte{2}, 32)}},
		{"hello", wire.TypeHello, 0, &wire.Hello{Peer: id, Name: "home", Instance: 7, Sig: bytes.Repeat([]byte{3}, 64), Join: bytes.Repeat([]byte{4}, 32)}},
		{"hello-pairing", wire.TypeHello, 0, &wire.Hello{Peer: id, Name: "home", Sig: []byte{3}, Mailbox: bytes.Repeat([]byte{5}, 32)}},
		{"welcome", wire.TypeWelcome, 0, &wire.Welcome{Name: "home", Heartbeat: 20, Observed: "192.0.2.1:4321"}},
		{"error", wire.TypeError, 9, &wire.Error{Code: wire.CodeNameTaken, Text: "taken", Suggestion: "home-2", RetryAfter: 1000}},
		{"result", wire.TypeResult, 9, nil},
		{"ping", wire.TypePing, 0, nil},
		{"pong", wire.TypePong, 0, nil},
		{"going-away", wire.TypeGoingAway, 0, &wire.GoingAway{RetryAfter: 2000}},
		{"announce", wire.TypeAnnounce, 0, &wire.Announce{Services: []signal.Service{{Name: "cam", Scheme: "rtsp"}}, Allow: []signal.PeerID{id}, More: true}},
		{"presence", wire.TypePresence, 0, &signal.Presence{Peer: id, Name: "home", Online: true, Instance: 7, Services: []signal.Service{{Name: "cam", Scheme: "rtsp"}}}},
		{"send", wire.TypeSend, 9, &wire.Sealed{Peer: id, Box: []byte("box")}},
		{"bind", wire.TypeBind, 0, &wire.Bind{Session: 1 << 63, To: id}},
		{"mailbox-open", wire.TypeMailboxOpen, 9, &wire.Mailbox{ID: bytes.Repeat([]byte{5}, 32), TTL: 600}},
		{"mailbox-taken", wire.TypeMailboxTaken, 0, &wire.Mailbox{ID: bytes.Repeat([]byte{5}, 32), Box: []byte("box"), Peer: id}},
	}
}

// Messages stay as they are: peers of all versions talk to each other.
func TestGolden(t *testing.T) {
	codec := wire.NewCodec()
	var all strings.Builder
	for _, s := range samples() {
		b, err := codec.Message(s.kind, s.id, s.body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %x\n", s.name, b)
		f, err := codec.Frame(b)
		if err != nil || f.Type != s.kind || f.ID != s.id {
			t.Errorf("%s: decoded to %+v, %v", s.name, f, err)
		}
		if s.body == nil {
			continue
		}
		got := reflect.New(reflect.TypeOf(s.body).Elem()).Interface()
		if err := codec.Body(f, got); err != nil || !reflect.DeepEqual(got, s.body) {
			t.Errorf("%s: body decoded to %+v, %v, want %+v", s.name, got, err, s.body)
		}
	}
	path := filepath.Join("testdata", "golden.txt")
	if os.Getenv("UPDATE") != "" { // only for new messages
		if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("messages have changed:\n%swant\n%s", all.String(), want)
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	codec := wire.NewCodec()
	// {0: 13, 2: {0: 5, 1: h'', 77: "later"}, 99: [1, 2]}
	b, err := hex.DecodeString("a3" + "000d" + "02a30005014018" + "4d656c61746572" + "186382" + "0102")
	if err != nil {
		t.Fatal(err)
	}
	f, err := codec.Frame(b)
	if err != nil {
		t.Fatal(err)
	}
	var bind wire.Bind
	if err := codec.Body(f, &bind); err != nil || bind.Session != 5 {
		t.Errorf("Body() = %+v, %v", bind, err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	codec := wire.NewCodec()
	for name, text := range map[string]string{
		"nothing": "", "text": "6161", "array": "80", "twice the same key": "a200010002", "indefinite": "bf0001ff",
		"tag": "a100c101", "cut off": "a1", "huge array": "a1029affffffff", "huge map": "bbffffffffffffffff",
		"huge string": "a1025bffffffffffffffff", "more after the end": "a1000100", "deep": "a102" + strings.Repeat("81", 20) + "00",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := codec.Frame(b); err == nil {
			t.Errorf("%s: decoded to %+v", name, f)
		}
	}
	if _, err := codec.Message(wire.TypeSend, 1, wire.Sealed{Box: make([]byte, wire.MaxMessage)}); err == nil {
		t.Error("a message over the limit is encoded")
	}
}

func TestLoginProof(t *testing.T) {
	identity, secret := signal.NewIdentity(), signal.Secret{1}
	challenge := wire.Challenge{Nonce: make([]byte, 32), Server: make([]byte, 32)}
	binding := []byte("binding")
	hello := wire.Hello{Peer: identity.PeerID(), Name: "home"}
	hello.Prove(challenge, binding, identity, secret)
	if genuine, joins := hello.Verify(challenge, binding, secret); !genuine || !joins {
		t.Errorf("Verify() = %v, %v", genuine, joins)
	}
	for name, verify := range map[string]func() (bool, bool){
		"on another connection": func() (bool, bool) { return hello.Verify(challenge, []byte("other"), secret) },
		"for another challenge": func() (bool, bool) {
			return hello.Verify(wire.Challenge{Nonce: make([]byte, 31), Server: make([]byte, 33)}, binding, secret)
		},
		"with another name": func() (bool, bool) { h := hello; h.Name = "root"; return h.Verify(challenge, binding, secret) },
	} {
		if genuine, joins := verify(); genuine || joins {
			t.Errorf("%s: Verify() = %v, %v", name, genuine, joins)
		}
	}
	if genuine, joins := hello.Verify(challenge, binding, signal.Secret{2}); !genuine || joins {
		t.Errorf("with another secret: Verify() = %v, %v", genuine, joins)
	}
}

func FuzzMessage(f *testing.F) {
	codec := wire.NewCodec()
	for _, s := range samples() {
		b, err := codec.Message(s.kind, s.id, s.body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := codec.Frame(b)
		if err != nil {
			return
		}
		for _, s := range samples() {
			if s.body == nil {
				continue
			}
			got := reflect.New(reflect.TypeOf(s.body).Elem()).Interface()
			if codec.Body(frame, got) != nil {
				continue
			}
			again, err := codec.Message(frame.Type, frame.ID, got)
			if err != nil {
				continue // larger than what it was made of, because keys were missing
			}
			frame2, err := codec.Frame(again)
			if err != nil {
				t.Fatalf("%x becomes %x: %v", b, again, err)
			}
			got2 := reflect.New(reflect.TypeOf(s.body).Elem()).Interface()
			if err := codec.Body(frame2, got2); err != nil {
				t.Fatalf("%x becomes %x: %v", b, again, err)
			}
		}
	})
}
