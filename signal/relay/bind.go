package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// An end is bound to the address that its packets come from by two round trips:
//
//	typeBind, grant without its secret, nonce, cookie, MAC under the secret
//	typeAnswer, status, session, nonce, cookie
//
// The first request has no cookie and is answered with one, which only who receives at
// that address can repeat: so a request that was overheard binds nobody else's address,
// and nobody is flooded with answers, which are shorter than requests. The same request
// keeps an end bound. That the quota is used up is also said unasked, with the nonce of the
// last request.
const (
	nonceSize   = 8
	cookieSize  = 8
	macSize     = 16
	requestSize = 1 + grantSize + nonceSize + cookieSize + macSize
	answerSize  = 1 + 1 + 8 + nonceSize + cookieSize
)

// A status is the answer to a request.
type status byte

const (
	statusBound     status = 0 // packets from this address go to the other end, once that is bound
	statusChallenge status = 1 // ask again, with this cookie
	statusRefused   status = 2 // the grant is void: it is too old
	statusFull      status = 3 // the relay has too many sessions
	statusSpent     status = 4 // the quota is used up, for as many seconds as the cookie says
)

// A request asks for an end to be bound to the address it comes from.
type request struct {
	grant  Grant // without its secret
	nonce  [nonceSize]byte
	cookie [cookieSize]byte
	signed []byte // what the MAC is of
	mac    []byte
}

// appendRequest appends a request that is signed with the secret of g.
func appendRequest(dst []byte, g Grant, nonce [nonceSize]byte, cookie [cookieSize]byte) []byte {
	from := len(dst)
	dst = g.append(append(dst, typeBind))
	dst = append(append(dst, nonce[:]...), cookie[:]...)
	return append(dst, sign(g.Secret, dst[from:])...)
}

// parseRequest reads a request. It borrows b.
func parseRequest(b []byte) (r request, ok bool) {
	if len(b) != requestSize || b[0] != typeBind {
		return request{}, false
	}
	r.grant = parseGrant(b[1:])
	rest := b[1+grantSize:]
	r.nonce, r.cookie = [nonceSize]byte(rest), [cookieSize]byte(rest[nonceSize:])
	r.signed, r.mac = b[:requestSize-macSize], b[requestSize-macSize:]
	return r, r.grant.End <= 1
}

// genuine reports whether the request was signed with a secret.
func (r request) genuine(secret Secret) bool { return hmac.Equal(r.mac, sign(secret, r.signed)) }

func sign(secret Secret, b []byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write(b)
	return mac.Sum(nil)[:macSize]
}

// An answer is what the relay says to a request.
type answer struct {
	status  status
	session uint64
	nonce   [nonceSize]byte // of the request
	cookie  [cookieSize]byte
}

// spentAnswer returns the answer that a quota is used up for so long.
func spentAnswer(session uint64, nonce [nonceSize]byte, left time.Duration) answer {
	a := answer{status: statusSpent, session: session, nonce: nonce}
	binary.BigEndian.PutUint64(a.cookie[:], uint64(left/time.Second)+1)
	return a
}

// left returns for how long a quota is used up, which is a day at most.
func (a answer) left() time.Duration {
	return time.Duration(min(binary.BigEndian.Uint64(a.cookie[:]), uint64(day/time.Second))) * time.Second
}

func (a answer) append(dst []byte) []byte {
	dst = append(dst, typeAnswer, byte(a.status))
	dst = binary.BigEndian.AppendUint64(dst, a.session)
	return append(append(dst, a.nonce[:]...), a.cookie[:]...)
}

func parseAnswer(b []byte) (a answer, ok bool) {
	if !IsAnswer(b) {
		return answer{}, false
	}
	return answer{
		status:  status(b[1]),
		session: binary.BigEndian.Uint64(b[2:]),
		nonce:   [nonceSize]byte(b[10:]),
		cookie:  [cookieSize]byte(b[10+nonceSize:]),
	}, true
}
