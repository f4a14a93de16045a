package signal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"peerway/signal"
)

func TestRelayURL(t *testing.T) {
	u := signal.RelayURL{Addr: "relay.example:7443", Key: [32]byte{1, 2, 3}}
	if got, err := signal.ParseRelayURL(u.String()); err != nil || got != u {
		t.Errorf("ParseRelayURL(%s) = %v, %v", u, got, err)
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(u.String(), "relay://"), "/")
	if got, err := signal.ParseRelayURL("relay://[2001:db8::1]/" + key); err != nil || got.Addr != "[2001:db8::1]:7443" {
		t.Errorf("without a port: %v, %v", got, err)
	}
	for _, shown := range []string{u.Redacted(), u.LogValue().String()} {
		if strings.Contains(shown, key[:8]) {
			t.Errorf("%s shows the key", shown)
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
	f.Add(signal.RelayURL{Addr: "host:1"}.String())
	f.Add("relay://[::1]:7443/aaaa")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := signal.ParseRelayURL(s)
		if err != nil {
			return
		}
		if again, err := signal.ParseRelayURL(u.String()); err != nil || again != u {
			t.Errorf("%q: %v becomes %v, %v", s, u, again, err)
		}
	})
}
