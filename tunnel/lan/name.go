package lan

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"peerway/signal"
)

// Sizes of what a name is made of, in bytes.
const (
	nonceSize = 8
	daySize   = 2
)

// maxAge is for how long a name can be asked for again by who has overheard it. Clocks may
// be that late, as that of a device that was off for days and has none that goes on. Names of
// the future are good, since it is mostly this host's clock that is late; those of a clock that
// is ahead can be asked for again until a week after their date.
const maxAge = 7 // days

// A name is what a peer is asked for by. None comes twice. Nobody learns from it who asks for
// whom but the two, and nobody else can make it up.
type name struct {
	nonce [nonceSize]byte
	day   uint16 // since 1970, as the one who asks has it
	tag   tag
	from  signal.PeerID // as long as the tag was not looked at: a claim
}

// newName returns a name by which one peer asks for another, and its text: an instance of a
// service (RFC 6763 section 4.1.1).
func newName(from, to signal.PeerID, by *correspondent, now time.Time) (name, string) {
	n := name{day: dayOf(now), from: from}
	rand.Read(n.nonce[:]) // never fails since Go 1.24
	n.tag = n.tagBy(&by.out)
	return n, n.text(to)
}

func dayOf(t time.Time) uint16 { return uint16(max(0, t.Unix()/(24*60*60))) }

func (n *name) body() []byte {
	return binary.BigEndian.AppendUint16(n.nonce[:nonceSize:nonceSize], n.day)
}

func (n *name) tagBy(key *[32]byte) tag { return tagOf(key, forQuestion, n.body()) }

// text returns the name in two labels (RFC 1035 section 2.3.4).
func (n *name) text(to signal.PeerID) string {
	masked := mask(n.from, to, n.nonce[:])
	return encode(append(n.body(), n.tag[:]...)) + "." + encode(masked[:])
}

// parseName reads what text writes. Case does not matter (RFC 6762 section 16). Who asks is a
// claim, and somebody unknown unless it is for to.
func parseName(text string, to signal.PeerID) (n name, ok bool) {
	first, second, _ := strings.Cut(text, ".")
	b, ok1 := decode(first, nonceSize+daySize+len(n.tag))
	masked, ok2 := decode(second, idSize)
	if !ok1 || !ok2 {
		return name{}, false
	}
	n.nonce = [nonceSize]byte(b)
	n.day = binary.BigEndian.Uint16(b[nonceSize:])
	n.tag = tag(b[nonceSize+daySize:])
	n.from = mask(signal.PeerID(masked), to, n.nonce[:])
	return n, true
}

// isGenuine reports whether the correspondent asks by the name, and not too long ago.
func (n *name) isGenuine(from *correspondent, now time.Time) bool {
	return n.tag.equal(n.tagBy(&from.in)) && int(n.day) >= int(dayOf(now))-maxAge
}

// encode returns bytes as a label.
func encode(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// decode reads so many bytes that encode has written, in any case.
func decode(label string, size int) ([]byte, bool) {
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(label))
	return b, err == nil && len(b) == size && encode(b) == strings.ToLower(label)
}
