package signal

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
)

// ErrSeal is wrapped by every error of [Identity.Open].
var ErrSeal = errors.New("sealed message is not genuine")

// maxSealed bounds what Seal produces and Open accepts, in bytes.
const maxSealed = 16 << 10

// sealContext is the HPKE info and the context of the signature.
const sealContext = "seal v1"

// Seal encrypts payload so that only to can read it, and signs it so that to
// knows whom it is from (HPKE base mode, RFC 9180, with X25519, HKDF-SHA256 and
// ChaCha20-Poly1305; the receiver's X25519 key is its Ed25519 key in Montgomery
// form). Who carries the result learns its length only. It does not protect
// against replay: the payload must name what it belongs to.
func (i Identity) Seal(to PeerID, payload []byte) ([]byte, error) {
	pub, err := to.montgomery()
	if err != nil {
		return nil, fmt.Errorf("seal to %s: %w", to.Short(), err)
	}
	key, err := hpke.NewDHKEMPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("seal to %s: %w", to.Short(), err)
	}
	from := i.PeerID()
	// Signed inside the box, over both ends: nobody can take the signature off
	// and put it on a box for someone else.
	inner := append(i.Sign(sealContext, sealScope(from, to, payload)), payload...)
	box, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo(from, to), inner)
	if err != nil {
		return nil, fmt.Errorf("seal to %s: %w", to.Short(), err)
	}
	if len(box) > maxSealed {
		return nil, fmt.Errorf("seal to %s: %d bytes, at most %d", to.Short(), len(box), maxSealed)
	}
	return box, nil
}

// Open returns the payload that from sealed to i.
func (i Identity) Open(from PeerID, box []byte) ([]byte, error) {
	if len(box) > maxSealed {
		return nil, fmt.Errorf("%w: %d bytes", ErrSeal, len(box))
	}
	scalar, err := i.montgomery()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	key, err := hpke.NewDHKEMPrivateKey(scalar)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	to := i.PeerID()
	inner, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo(from, to), box)
	if err != nil || len(inner) < ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: it was not sealed to this peer by %s", ErrSeal, from.Short())
	}
	sig, payload := inner[:ed25519.SignatureSize], inner[ed25519.SignatureSize:]
	if !from.Verify(sealContext, sealScope(from, to, payload), sig) {
		return nil, fmt.Errorf("%w: the signature is not that of %s", ErrSeal, from.Short())
	}
	return payload, nil
}

// Agree returns a secret that only i and a peer can compute, each from the other's id: for
// MACs by which one knows the other, at no cost but the first one's. It is the same for ever;
// secrets of different contexts have nothing in common.
func (i Identity) Agree(with PeerID, context string) ([32]byte, error) {
	pub, err := with.montgomery()
	if err != nil {
		return [32]byte{}, fmt.Errorf("agree with %s: %w", with.Short(), err)
	}
	scalar, err := i.montgomery()
	if err != nil {
		return [32]byte{}, fmt.Errorf("agree with %s: %w", with.Short(), err)
	}
	shared, err := scalar.ECDH(pub)
	if err != nil {
		return [32]byte{}, fmt.Errorf("agree with %s: %w", with.Short(), err)
	}
	first, second := i.PeerID(), with
	if bytes.Compare(first[:], second[:]) > 0 {
		first, second = second, first
	}
	key, err := hkdf.Key(sha256.New, shared, nil, "peerway agree "+context+"\x00"+string(first[:])+string(second[:]), 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("agree with %s: %w", with.Short(), err)
	}
	return [32]byte(key), nil
}

// montgomery returns the X25519 form of an id (RFC 7748 section 4.1).
func (id PeerID) montgomery() (*ecdh.PublicKey, error) {
	point, err := new(edwards25519.Point).SetBytes(id[:])
	if err != nil {
		return nil, ErrPeerID
	}
	return ecdh.X25519().NewPublicKey(point.BytesMontgomery())
}

// montgomery returns the private half of that.
func (i Identity) montgomery() (*ecdh.PrivateKey, error) {
	digest := sha512.Sum512(i.key.Seed())
	return ecdh.X25519().NewPrivateKey(digest[:32]) // clamped by X25519 itself (RFC 7748)
}

func sealInfo(from, to PeerID) []byte {
	return append(append([]byte("peerway "+sealContext), from[:]...), to[:]...)
}

func sealScope(from, to PeerID, payload []byte) []byte {
	return append(append(append([]byte(nil), from[:]...), to[:]...), payload...)
}
