package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"

	"peerway/signal"
)

// loginContext is the context of the signature in a Hello.
const loginContext = "login v1"

// Binding returns what is unique to a TLS connection and known to its two ends
// only (RFC 9266, tls-exporter). A login signed over it is worth nothing on
// another connection, so a server cannot pass a challenge on.
func Binding(state *tls.ConnectionState) ([]byte, error) {
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("bind the login to the connection: %w", err)
	}
	return b, nil
}

// Transcript returns what the proofs of h are made over: everything that the
// two sides must agree on.
func (h Hello) Transcript(c Challenge, binding []byte) []byte {
	var b []byte
	for _, part := range [][]byte{c.Nonce, c.Server, binding, h.Peer[:], []byte(h.Name), h.Mailbox} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return binary.BigEndian.AppendUint64(b, h.Instance)
}

// Prove fills in the proofs of h, for identity and, unless it is zero, for the
// join secret.
func (h *Hello) Prove(c Challenge, binding []byte, identity signal.Identity, secret signal.Secret) {
	transcript := h.Transcript(c, binding)
	h.Sig = identity.Sign(loginContext, transcript)
	if secret != (signal.Secret{}) {
		h.Join = joinMAC(secret, transcript)
	}
}

// Verify reports whether h proves its key, and whether it proves the join
// secret.
func (h Hello) Verify(c Challenge, binding []byte, secret signal.Secret) (genuine, joins bool) {
	transcript := h.Transcript(c, binding)
	return h.Peer.Verify(loginContext, transcript, h.Sig), hmac.Equal(h.Join, joinMAC(secret, transcript))
}

func joinMAC(secret signal.Secret, transcript []byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("peerway join v1"))
	mac.Write(transcript)
	return mac.Sum(nil)
}
