package lane

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// The encoding is part of the protocol: it does not change.
func TestGolden(t *testing.T) {
	for _, test := range []struct {
		header Header
		want   string
	}{
		{Header{Version: 1, Service: "web"}, "0008a200010163776562"},
		{Header{Version: 1, Service: "cam-1", Class: Dedicated}, "000ca30001016563616d2d310201"},
	} {
		b, err := test.header.encode()
		if got := hex.EncodeToString(b); got != test.want || err != nil {
			t.Errorf("%+v is %s, %v; want %s", test.header, got, err, test.want)
		}
		if h, err := parseHeader(b[2:]); h != test.header || err != nil {
			t.Errorf("parsed %+v, %v", h, err)
		}
	}
	for _, test := range []struct {
		answer answer
		want   string
	}{
		{answer{}, "0003a10000"},
		{answer{Code: 5, Text: "no route"}, "000da2000501686e6f20726f757465"},
	} {
		b, err := test.answer.encode()
		if got := hex.EncodeToString(b); got != test.want || err != nil {
			t.Errorf("%+v is %s, %v; want %s", test.answer, got, err, test.want)
		}
		if a, err := parseAnswer(b[2:]); a != test.answer || err != nil {
			t.Errorf("parsed %+v, %v", a, err)
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	for _, h := range []Header{
		{}, {Version: 1}, {Version: 2, Service: "web"}, {Version: 1, Service: "web", Class: 2},
		{Version: 1, Service: strings.Repeat("x", 256)}, {Version: 1, Service: "\xff"},
	} {
		if _, err := h.encode(); err == nil {
			t.Errorf("%+v was encoded", h)
		}
	}
	if _, err := (Header{Version: 1, Service: strings.Repeat("x", 255)}).encode(); err != nil {
		t.Error(err)
	}
	if _, err := parseHeader([]byte{0xa1, 0x00, 0x02}); !errors.Is(err, errVersion) {
		t.Errorf("a newer version: %v", err)
	}
}

// A long text is cut between two characters.
func TestLongText(t *testing.T) {
	for cut := range 4 {
		text := strings.Repeat("x", cut) + strings.Repeat("é€", 300)
		b, err := answer{Code: 1, Text: text}.encode()
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAnswer(b[2:])
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Text) > maxText || len(a.Text) < maxText-4 || !strings.HasPrefix(text, a.Text) {
			t.Errorf("text of %d bytes", len(a.Text))
		}
	}
	if b, err := (answer{Text: "\xff"}).encode(); err != nil {
		t.Error(err)
	} else if a, err := parseAnswer(b[2:]); a.Text != "?" || err != nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// What is accepted survives a round trip.
func FuzzHeader(f *testing.F) {
	b, _ := Header{Version: 1, Service: "web", Class: Dedicated}.encode()
	f.Add(b[2:])
	f.Add([]byte{0xa1, 0x00, 0x02})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if got, err := parseHeader(again[2:]); got != h || err != nil {
			t.Errorf("%+v became %+v, %v", h, got, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	b, _ := answer{Code: 5, Text: "no route"}.encode()
	f.Add(b[2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		again, err := a.encode()
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		if got, err := parseAnswer(again[2:]); got != a || err != nil {
			t.Errorf("%+v became %+v, %v", a, got, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{kind: kindWindow, flags: flagSYN, id: 1, length: 7}.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameSize {
			return
		}
		fr, err := parseFrame(b)
		if err == nil && !bytes.Equal(fr.appendTo(nil), b[:frameSize]) {
			t.Errorf("% x became % x", b[:frameSize], fr.appendTo(nil))
		}
	})
}
