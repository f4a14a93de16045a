package signal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
)

// ErrRelayURL is wrapped by every error of [ParseRelayURL].
var ErrRelayURL = errors.New("not a relay URL")

// A RelayURL says where a relay is that has a machine of its own, and the key that lets a
// signal server send peers there. It is comparable. [RelayURL.Text] contains the key;
// nothing else that is made of it does, whether it is printed, logged or encoded.
//
//	relay://HOST:PORT/KEY
type RelayURL struct {
	Addr string // HOST:PORT
	Key  [32]byte
}

const relayScheme = "relay"

// ParseRelayURL reads what [RelayURL.Text] writes. A missing port means 7443.
func ParseRelayURL(s string) (u RelayURL, err error) {
	if len(s) > 512 {
		return RelayURL{}, fmt.Errorf("%w: %d characters", ErrRelayURL, len(s))
	}
	parsed, err := url.Parse(strings.TrimSpace(s))
	if err != nil || parsed.Scheme != relayScheme { // its text would repeat the key
		return RelayURL{}, fmt.Errorf("%w: it does not look like relay://HOST:PORT/…", ErrRelayURL)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return RelayURL{}, fmt.Errorf("%w: it has more than an address and a key", ErrRelayURL)
	}
	if u.Addr, err = canonicalAddr(parsed.Host, false); err != nil {
		return RelayURL{}, fmt.Errorf("%w: %w", ErrRelayURL, err)
	}
	if err := decodeFixed(u.Key[:], strings.TrimPrefix(parsed.Path, "/")); err != nil {
		return RelayURL{}, fmt.Errorf("%w: the key at its end is damaged; was it copied whole?", ErrRelayURL)
	}
	return u, nil
}

// Text returns the text form, with the key.
func (u RelayURL) Text() string { return u.Redacted() + "/" + idEncoding.EncodeToString(u.Key[:]) }

// Redacted returns the text form without the key, for status and logs.
func (u RelayURL) Redacted() string { return relayScheme + "://" + u.Addr }

// Format implements [fmt.Formatter]: no verb shows the key.
func (u RelayURL) Format(f fmt.State, _ rune) { io.WriteString(f, u.Redacted()) }

// LogValue implements [slog.LogValuer]. It shows no key.
func (u RelayURL) LogValue() slog.Value { return slog.StringValue(u.Redacted()) }

// MarshalText implements [encoding.TextMarshaler], for what has one in it. It shows no key.
func (u RelayURL) MarshalText() ([]byte, error) { return []byte(u.Redacted()), nil }
