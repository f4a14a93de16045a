package signal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// ErrURL is wrapped by every error of [ParseURL].
var ErrURL = errors.New("not a signal server URL")

// Ports that a URL without one means.
const (
	defaultPort       = "7443"
	defaultPublicPort = "443"
)

// A Secret is the join secret of a signal server: who knows it may log in. It
// hides itself from logs.
type Secret [16]byte

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText implements [encoding.TextMarshaler], for the place where secrets
// are kept.
func (s Secret) MarshalText() ([]byte, error) { return []byte(idEncoding.EncodeToString(s[:])), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Secret) UnmarshalText(text []byte) error {
	if err := decodeFixed(s[:], string(text)); err != nil {
		return fmt.Errorf("join secret: %w", err)
	}
	return nil
}

// Format implements [fmt.Formatter]: no verb shows the secret, also in what contains one.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// A Pin identifies a signal server: SHA-256 of its Ed25519 public key.
type Pin [sha256.Size]byte

// PinOf returns the pin of a server with that public key.
func PinOf(key ed25519.PublicKey) Pin { return sha256.Sum256(key) }

// A URL says where a signal server is, how to know that it is the right one,
// and the secret that lets a peer in. It is comparable. Its text form contains
// the secret, its log value does not.
//
//	peerway://HOST:PORT/PIN.SECRET     the server's own key, pinned
//	wss://HOST[:PORT]/SECRET           a public certificate for HOST
type URL struct {
	Addr   string // HOST:PORT
	Public bool   // the server is known by a public certificate, not by Pin
	Pin    Pin    // unless Public
	Secret Secret // zero: none, for a server that knows this peer already
}

// ParseURL reads what [URL.String] writes. A missing port means 7443, or 443
// with a public certificate.
func ParseURL(s string) (URL, error) {
	if len(s) > 512 {
		return URL{}, fmt.Errorf("%w: %d characters", ErrURL, len(s))
	}
	parsed, err := url.Parse(strings.TrimSpace(s))
	if err != nil { // its text would repeat the secret
		return URL{}, fmt.Errorf("%w: it does not look like peerway://HOST:PORT/…", ErrURL)
	}
	u := URL{Public: parsed.Scheme == "wss"}
	if !u.Public && parsed.Scheme != "peerway" {
		return URL{}, fmt.Errorf("%w: it starts with neither peerway:// nor wss://", ErrURL)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return URL{}, fmt.Errorf("%w: it has more than an address and a secret", ErrURL)
	}
	if u.Addr, err = canonicalAddr(parsed.Host, u.Public); err != nil {
		return URL{}, fmt.Errorf("%w: %w", ErrURL, err)
	}
	secret := strings.TrimPrefix(parsed.Path, "/")
	if strings.HasSuffix(secret, "…") {
		return URL{}, fmt.Errorf("%w: its end is left out (…): use the whole one, as peerway signal printed it", ErrURL)
	}
	if !u.Public {
		var pin string
		pin, secret, _ = strings.Cut(secret, ".")
		if err := decodeFixed(u.Pin[:], pin); err != nil {
			return URL{}, fmt.Errorf("%w: the part that pins the server is damaged; was it copied whole?", ErrURL)
		}
	}
	if secret == "" {
		return u, nil
	}
	if err := decodeFixed(u.Secret[:], secret); err != nil {
		return URL{}, fmt.Errorf("%w: the secret at its end is damaged; was it copied whole?", ErrURL)
	}
	return u, nil
}

// canonicalAddr returns HOST:PORT for a host with or without a port.
func canonicalAddr(host string, public bool) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), defaultPort
		if public {
			port = defaultPublicPort
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%.20q is not a port", port)
	}
	if !validHost(name) {
		return "", fmt.Errorf("%.80q is not a host", name)
	}
	return net.JoinHostPort(strings.ToLower(name), port), nil
}

// validHost reports whether s may be a host name or an address. Resolving it
// tells the rest.
func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.' || c == '-' || c == '_' || c == ':' || c == '%':
		default:
			return false
		}
	}
	return true
}

// String returns the text form, with the secret.
func (u URL) String() string { return u.text(idEncoding.EncodeToString(u.Secret[:])) }

// Redacted returns the text form with the secret cut off, for status and logs.
func (u URL) Redacted() string { return u.text("…") }

func (u URL) text(secret string) string {
	if u.Addr == "" {
		return ""
	}
	if u.Secret == (Secret{}) {
		secret = ""
	}
	if u.Public {
		return "wss://" + u.Addr + "/" + secret
	}
	s := "peerway://" + u.Addr + "/" + idEncoding.EncodeToString(u.Pin[:])
	if secret != "" {
		s += "." + secret
	}
	return s
}

// LogValue implements [slog.LogValuer]. It shows no secret.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.Redacted()) }

// MarshalText implements [encoding.TextMarshaler], with the secret.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (u *URL) UnmarshalText(text []byte) (err error) {
	*u, err = ParseURL(string(text))
	return err
}

// decodeFixed decodes base32 that must fill dst exactly, and be the one text
// form of what it means.
func decodeFixed(dst []byte, s string) error {
	s = strings.ToLower(s)
	raw, err := idEncoding.DecodeString(s)
	if err != nil || len(raw) != len(dst) || idEncoding.EncodeToString(raw) != s {
		return errors.New("not base32 of the right length")
	}
	copy(dst, raw)
	return nil
}
