package signal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"peerway/signal"
)

func TestRelayURL(t *testing.T) {
	u := signal.RelayURL{Addr: "relay.example:7443", Key: [32]byte{1, 2, 3}}
	if got, err := signal.ParseRelayURL(u.Text()); err != nil || got != u {
		t.Errorf("ParseRelayURL(%s) = %v, %v", u, got, err)
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(u.Text(), "relay://"), "/")
	if got, err := signal.ParseRelayURL("relay://[2001:db8::1]/" + key); err != nil || got.Addr != "[2001:db8::1]:7443" {
		t.Errorf("without a port: %v, %v", got, err)
	}
	within := struct{ URL signal.RelayURL }{u}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "a", u, "b", within, "c", &u)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "a", u, "b", within, "c", &u)
	shown := []string{u.Redacted(), log.String()}
	for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d", "T %[1]v"} {
		shown = append(shown, fmt.Sprintf("%"+verb, u), fmt.Sprintf("%"+verb, within), fmt.Sprintf("%"+verb, []*signal.RelayURL{&u}[0]))
	}
	for _, shown := range shown {
		for _, form := range []string{key[:8], "1 2 3", "0x1, 0x2, 0x3", "010203", "AQID", "1,2,3"} {
			if strings.Contains(shown, form) {
				t.Errorf("%s shows the key", shown)
			}
		}
	}
	for _, bad := range []string{
		"", "relay://", "relay://host:7443", "relay://host:7443/short", "peerway://host:7443/" + key,
		"relay://host:0/" + key, "relay://user@host/" + key, "relay://host/" + key + "?a=b", "relay://ho st/" + key,
		"relay://host/" + key[:len(key)-1] + "1", strings.Repeat("a", 1000),
	} {
		_, err := signal.ParseRelayURL(bad)
		if !errors.Is(err, signal.ErrRelayURL) {
			t.Errorf("ParseRelayURL(%.60q) = %v", bad, err)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), key[:8]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

func FuzzRelayURL(f *testing.F) {
	f.Add(signal.RelayURL{Addr: "host:1"}.Text())
	f.Add("relay://[::1]:7443/aaaa")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := signal.ParseRelayURL(s)
		if err != nil {
			return
		}
		if again, err := signal.ParseRelayURL(u.Text()); err != nil || again != u {
			t.Errorf("%q: %v becomes %v, %v", s, u, again, err)
		}
	})
}
