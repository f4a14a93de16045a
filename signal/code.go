package signal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrCode is wrapped by every error of [ParseCode].
var ErrCode = errors.New("not a pairing code")

// ErrBox is returned by [Code.Open] for a box that was not sealed with the same
// code for the same purpose.
var ErrBox = errors.New("the pairing message is not genuine")

// Sizes of the parts of a code, in bytes. Together they are 25 bytes, hence 40
// characters.
const (
	codeSecretSize = 13 // 104 bits, so nobody guesses one and no PAKE is needed
	codePinSize    = 11 // 88 bits of the server's pin
	codeSumSize    = 1
)

// A Code is a pairing code: the address of a signal server, a part of its pin,
// and a random secret that two people share. The secret names a mailbox on the
// server by a hash and seals what is put there, so the server cannot read it. A
// Code is a value; its text form is a secret, its log value is not.
type Code struct {
	Addr   string // HOST:PORT of the signal server
	secret [codeSecretSize]byte
	pin    [codePinSize]byte
}

// NewCode makes a fresh code for the server at addr (HOST:PORT) with that pin.
func NewCode(addr string, pin Pin) Code {
	c := Code{Addr: addr, pin: [codePinSize]byte(pin[:codePinSize])}
	rand.Read(c.secret[:]) // never fails since Go 1.24
	return c
}

// ParseCode reads what [Code.String] writes. It catches most typing errors.
func ParseCode(s string) (Code, error) {
	s = strings.TrimSpace(s)
	if len(s) > 320 {
		return Code{}, fmt.Errorf("%w: %d characters", ErrCode, len(s))
	}
	if strings.Contains(s, "://") {
		return Code{}, fmt.Errorf("%w: this is a URL; a code is what peerway expose prints after the word pair", ErrCode)
	}
	addr, text, ok := strings.Cut(s, "/")
	if !ok {
		return Code{}, fmt.Errorf("%w: it does not look like HOST:PORT/CODE", ErrCode)
	}
	var c Code
	var err error
	if c.Addr, err = canonicalAddr(addr, false); err != nil {
		return Code{}, fmt.Errorf("%w: %w", ErrCode, err)
	}
	var raw [codeSecretSize + codePinSize + codeSumSize]byte
	if err := decodeFixed(raw[:], text); err != nil {
		if strings.HasSuffix(text, "…") {
			return Code{}, fmt.Errorf("%w: its end is left out (…): use the whole one, as peerway expose printed it", ErrCode)
		}
		return Code{}, fmt.Errorf("%w: want 40 letters and digits after the /, have %d; was it copied whole?", ErrCode, len(text))
	}
	copy(c.secret[:], raw[:])
	copy(c.pin[:], raw[codeSecretSize:])
	if raw[len(raw)-1] != c.sum() {
		return Code{}, fmt.Errorf("%w: the checksum does not match, is it mistyped?", ErrCode)
	}
	return c, nil
}

// String returns the text form: HOST:PORT/ and 40 characters.
func (c Code) String() string {
	raw := bytes.Join([][]byte{c.secret[:], c.pin[:], {c.sum()}}, nil)
	return c.Addr + "/" + idEncoding.EncodeToString(raw)
}

// LogValue implements [slog.LogValuer]. It shows no secret.
func (c Code) LogValue() slog.Value { return slog.StringValue(c.Addr + "/…") }

func (c Code) sum() byte {
	h := sha256.New()
	h.Write(c.secret[:])
	h.Write(c.pin[:])
	return h.Sum(nil)[0]
}

// Matches reports whether pin is that of the server the code was made for.
func (c Code) Matches(pin Pin) bool {
	return subtle.ConstantTimeCompare(c.pin[:], pin[:codePinSize]) == 1
}

// Mailbox returns the name of the code's mailbox on the server. It reveals
// nothing about the code.
func (c Code) Mailbox() [32]byte { return [32]byte(c.derive("mailbox v1")) }

// Seal encrypts payload for the other holder of the code. Open succeeds only
// with the same context.
func (c Code) Seal(context string, payload []byte) []byte {
	return c.aead().Seal(nil, nil, payload, c.scope(context))
}

// Open returns what was sealed, or [ErrBox].
func (c Code) Open(context string, box []byte) ([]byte, error) {
	payload, err := c.aead().Open(nil, nil, box, c.scope(context))
	if err != nil {
		return nil, ErrBox
	}
	return payload, nil
}

func (c Code) scope(context string) []byte { return append([]byte("peerway pair v1 "), context...) }

func (c Code) aead() cipher.AEAD {
	block, err := aes.NewCipher(c.derive("seal v1"))
	if err != nil { // the key has 32 bytes
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (c Code) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, c.secret[:], nil, "peerway "+purpose, 32)
	if err != nil { // only for lengths over 8 KiB
		panic(err)
	}
	return key
}
