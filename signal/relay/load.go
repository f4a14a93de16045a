package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A signal server asks its relays on UDP how much they have to do:
//
//	typeAsk, nonce, padding, MAC
//	typeLoad, nonce, sessions, Mbit/s, capacity, clock, MAC
//
// Both are of one size, so that nobody is flooded with answers, and only who has the
// relay's key can make either. The clock is the relay's, in Unix seconds.
const loadSize = 1 + nonceSize + loadFields + macSize

const loadFields = 4 * 4

// A Load is what a relay has to do, and what it can.
type Load struct {
	Sessions uint32 // that have carried something of late
	Rate     uint32 // Mbit/s that it forwards
	Capacity uint32 // Mbit/s that it may
}

// sessionWeight is how many Mbit/s a session may come to want: those of a camera.
const sessionWeight = 4

// Free returns how much more the relay can do: the less the sooner others are better. It
// is negative if it has too much to do already.
func (l Load) Free() int64 {
	return int64(l.Capacity) - int64(l.Sessions)*sessionWeight - int64(l.Rate)
}

// AppendAsk appends the question for a relay's load.
func (k Key) AppendAsk(dst []byte, nonce [8]byte) []byte {
	from := len(dst)
	dst = append(append(dst, typeAsk), nonce[:]...)
	dst = append(dst, make([]byte, loadFields)...)
	return append(dst, k.loadMAC(dst[from:])...)
}

// ParseLoad reads the answer to the question with that nonce. clock is what the relay's
// showed, to the second.
func (k Key) ParseLoad(b []byte, nonce [8]byte) (l Load, clock time.Time, ok bool) {
	if !k.signed(b, typeLoad) || [8]byte(b[1:]) != nonce {
		return Load{}, time.Time{}, false
	}
	b = b[1+nonceSize:]
	return Load{
		Sessions: binary.BigEndian.Uint32(b),
		Rate:     binary.BigEndian.Uint32(b[4:]),
		Capacity: binary.BigEndian.Uint32(b[8:]),
	}, time.Unix(int64(binary.BigEndian.Uint32(b[12:])), 0), true
}

// appendLoad appends the answer to a question that came now, or reports false if it is none.
func (k Key) appendLoad(dst, question []byte, l Load, now time.Time) ([]byte, bool) {
	if !k.signed(question, typeAsk) {
		return dst, false
	}
	from := len(dst)
	dst = append(append(dst, typeLoad), question[1:1+nonceSize]...)
	dst = binary.BigEndian.AppendUint32(dst, l.Sessions)
	dst = binary.BigEndian.AppendUint32(dst, l.Rate)
	dst = binary.BigEndian.AppendUint32(dst, l.Capacity)
	dst = binary.BigEndian.AppendUint32(dst, uint32(now.Unix()))
	return append(dst, k.loadMAC(dst[from:])...), true
}

// signed reports whether b is of a type and genuine.
func (k Key) signed(b []byte, kind byte) bool {
	return len(b) == loadSize && b[0] == kind && hmac.Equal(b[loadSize-macSize:], k.loadMAC(b[:loadSize-macSize]))
}

func (k Key) loadMAC(b []byte) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("peerway relay load 1"))
	mac.Write(b)
	return mac.Sum(nil)[:macSize]
}

// A meter tells how many bytes pass in a second.
type meter struct {
	bytes uint64
	since time.Time
	rate  float64 // bytes in a second
}

// meterFor is how long bytes are counted before they make a rate.
const meterFor = 2 * time.Second

func (m *meter) count(bytes int, now time.Time) {
	m.bytes += uint64(bytes)
	m.look(now)
}

// look returns the rate of late.
func (m *meter) look(now time.Time) float64 {
	if passed := now.Sub(m.since); passed >= meterFor {
		m.rate = float64(m.bytes) / passed.Seconds()
		m.bytes, m.since = 0, now
	}
	return m.rate
}
