package punch

import (
	"errors"
	"fmt"
	"log/slog"
)

// ErrDescription is wrapped by what [Description.Validate] returns.
var ErrDescription = errors.New("not a valid description of a peer")

// Limits of a description, which comes from the peer.
const (
	maxFragment   = 64
	maxPassword   = 128
	maxCandidates = 16
	maxCandidate  = 256
)

// A Description is what one side of an attempt tells the other, over a channel
// that nobody else can read: the password proves to each that a packet is the
// other's.
type Description struct {
	Ufrag      string   `cbor:"1,keyasint"`
	Pwd        string   `cbor:"2,keyasint"`
	Candidates []string `cbor:"3,keyasint,omitempty"`

	// Hard says that this side's NAT gives every destination another port; Delta by how
	// much each differs from the last, if that is regular.
	Hard  bool `cbor:"4,keyasint,omitempty"`
	Delta int8 `cbor:"5,keyasint,omitempty"`
}

// Validate reports whether d keeps to the limits. Candidates it only measures:
// those that this side does not understand are skipped later.
func (d Description) Validate() error {
	var errs []error
	if len(d.Ufrag) < 4 || len(d.Ufrag) > maxFragment || !isICEText(d.Ufrag) {
		errs = append(errs, fmt.Errorf("%w: user name fragment of %d bytes", ErrDescription, len(d.Ufrag)))
	}
	if len(d.Pwd) < 22 || len(d.Pwd) > maxPassword || !isICEText(d.Pwd) {
		errs = append(errs, fmt.Errorf("%w: password of %d bytes", ErrDescription, len(d.Pwd)))
	}
	return errors.Join(append(errs, validateCandidates(d.Candidates))...)
}

// validateCandidates measures candidates that the peer sent.
func validateCandidates(candidates []string) error {
	if len(candidates) > maxCandidates {
		return fmt.Errorf("%w: %d candidates, at most %d", ErrDescription, len(candidates), maxCandidates)
	}
	for _, c := range candidates {
		if len(c) > maxCandidate {
			return fmt.Errorf("%w: candidate of %d bytes, at most %d", ErrDescription, len(c), maxCandidate)
		}
	}
	return nil
}

// isICEText reports whether s consists of ice-char (RFC 8839 section 5.1).
func isICEText(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// LogValue implements [slog.LogValuer]: no password in a log.
func (d Description) LogValue() slog.Value { return slog.AnyValue(d.Candidates) }

// String implements [fmt.Stringer], with the same care.
func (d Description) String() string { return fmt.Sprint(d.Candidates) }
