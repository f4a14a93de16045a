package signal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"peerway/signal"
)

func TestValidName(t *testing.T) {
	for _, good := range []string{"a", "home", "home-2", "0", strings.Repeat("a", 32), "a--b"} {
		if err := signal.ValidName(good); err != nil {
			t.Errorf("ValidName(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "Home", "a.b", "a_b", "ä", "a b", strings.Repeat("a", 33), "a\x00"} {
		if err := signal.ValidName(bad); err == nil {
			t.Errorf("ValidName(%q) = nil", bad)
		}
	}
	if err := (signal.Service{Name: "cam", Scheme: "gopher"}).Validate(); err == nil {
		t.Error("a gopher service is valid")
	}
}

func TestURL(t *testing.T) {
	pin := signal.Pin{1, 2, 3}
	secret := signal.Secret{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}
	for _, want := range []signal.URL{
		{Addr: "203.0.113.10:7443", Pin: pin, Secret: secret},
		{Addr: "[2001:db8::1]:7443", Pin: pin, Secret: secret},
		{Addr: "signal.example:7443", Pin: pin},
		{Addr: "signal.example:443", Public: true, Secret: secret},
	} {
		got, err := signal.ParseURL(want.String())
		if err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v", want.String(), got, err)
		}
		hidden := fmt.Sprintf("%s %v", want.Redacted(), want.LogValue())
		if want.Secret == secret && strings.Contains(hidden, want.String()[len(want.String())-10:]) {
			t.Errorf("%s shows the secret", hidden)
		}
	}
	short, err := signal.ParseURL("wss://Signal.Example/" + strings.Repeat("a", 26))
	if err != nil || short.Addr != "signal.example:443" {
		t.Errorf("ParseURL without a port = %+v, %v", short, err)
	}
	for _, bad := range []string{
		"", "peerway://", "http://a:1/x", "peerway://a:7443/", "peerway://a:0/x", "peerway://a:7443/x.y",
		"peerway://u:p@a:7443/x", "wss://a/short", "wss://a/" + strings.Repeat("a", 26) + "?x", strings.Repeat("a", 600),
	} {
		if u, err := signal.ParseURL(bad); !errors.Is(err, signal.ErrURL) {
			t.Errorf("ParseURL(%q) = %+v, %v, want %v", bad, u, err, signal.ErrURL)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add(signal.URL{Addr: "[2001:db8::1]:7443", Pin: signal.Pin{1}, Secret: signal.Secret{1}}.String())
	f.Add("wss://signal.example/" + strings.Repeat("a", 26))
	f.Fuzz(func(t *testing.T, s string) {
		u, err := signal.ParseURL(s)
		if err != nil {
			return
		}
		again, err := signal.ParseURL(u.String())
		if err != nil || again != u {
			t.Errorf("%q becomes %q: %+v, %v", s, u.String(), again, err)
		}
	})
}

func TestCode(t *testing.T) {
	pin := signal.Pin{1, 2, 3}
	code := signal.NewCode("203.0.113.10:7443", pin)
	text := code.String()
	if n := len(text) - len("203.0.113.10:7443/"); n != 40 {
		t.Errorf("%d characters after the address, want 40", n)
	}
	got, err := signal.ParseCode(" " + strings.ToUpper(text) + "\n")
	if err != nil || got != code || !got.Matches(pin) || got.Matches(signal.Pin{1, 2, 4}) {
		t.Errorf("ParseCode(%q) = %v, %v", text, got, err)
	}
	if strings.Contains(code.LogValue().String(), text[20:]) {
		t.Error("the log value shows the secret")
	}
	accepted := 0
	for i := len("203.0.113.10:7443/"); i < len(text); i++ {
		typo := []byte(text)
		typo[i] = 'a' + (typo[i]-'a'+1)%26
		if _, err := signal.ParseCode(string(typo)); err == nil {
			accepted++ // one in 256
		} else if !errors.Is(err, signal.ErrCode) {
			t.Errorf("ParseCode = %v, want %v", err, signal.ErrCode)
		}
	}
	if accepted > 3 {
		t.Errorf("%d of 40 typing errors accepted", accepted)
	}
	if other := signal.NewCode(code.Addr, pin); other.Mailbox() == code.Mailbox() {
		t.Error("two codes have the same mailbox")
	}
}

func TestCodeSeals(t *testing.T) {
	code := signal.NewCode("a:1", signal.Pin{})
	box := code.Seal("claim", []byte("hello"))
	if got, err := code.Open("claim", box); err != nil || string(got) != "hello" {
		t.Errorf("Open() = %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another context": func() ([]byte, error) { return code.Open("reply", box) },
		"another code":    func() ([]byte, error) { return signal.NewCode("a:1", signal.Pin{}).Open("claim", box) },
		"a changed box":   func() ([]byte, error) { return code.Open("claim", append([]byte{box[0] ^ 1}, box[1:]...)) },
		"nothing":         func() ([]byte, error) { return code.Open("claim", nil) },
	} {
		if _, err := open(); !errors.Is(err, signal.ErrBox) {
			t.Errorf("Open with %s = %v, want %v", name, err, signal.ErrBox)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add(signal.NewCode("203.0.113.10:7443", signal.Pin{1}).String())
	f.Fuzz(func(t *testing.T, s string) {
		c, err := signal.ParseCode(s)
		if err != nil {
			return
		}
		if again, err := signal.ParseCode(c.String()); err != nil || again != c {
			t.Errorf("%q becomes %q: %v", s, c.String(), err)
		}
	})
}

func FuzzPeerID(f *testing.F) {
	f.Add(signal.PeerID{1, 2, 3}.String())
	f.Fuzz(func(t *testing.T, s string) {
		id, err := signal.ParsePeerID(s)
		if err == nil && id.String() != strings.ToLower(s) {
			t.Errorf("%q becomes %q", s, id.String())
		}
	})
}
