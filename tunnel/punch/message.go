package punch

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"

	"github.com/pion/stun/v3"
)

// errMessage is why parse refuses a packet. The sender is not told, and nobody
// logs it: whoever can send packets could fill the log.
var errMessage = errors.New("not a STUN message that is used here")

// Limits of what parse accepts. Peers and STUN servers send about 100 bytes.
const (
	headerSize    = 20
	maxMessage    = 1280
	maxAttributes = 24
	maxUsername   = 2*maxFragment + 1
)

type class uint16

// The classes of a Binding message (RFC 8489 section 5). Indications are not
// listed because they are refused: they cannot be authenticated.
const (
	classRequest class = 0x0001
	classSuccess class = 0x0101
	classFailure class = 0x0111
)

type transactionID = [stun.TransactionIDSize]byte

// A message is a packet that parse has accepted. It borrows the packet.
type message struct {
	raw         []byte
	class       class
	id          transactionID
	username    []byte
	mapped      netip.AddrPort
	integrityAt int // offset of MESSAGE-INTEGRITY, 0 if absent
	fingerprint bool
	priority    bool
	controlling bool
	controlled  bool
}

// parse checks every byte of a packet that anything behind it looks at: the
// length, the place and number of each attribute, and the size of those with a
// meaning. The ICE library's own parser accepts more and, in the version in
// use, can be crashed by an address that is too short.
func parse(packet []byte) (message, error) {
	if len(packet) < headerSize || len(packet) > maxMessage || len(packet)%4 != 0 ||
		int(binary.BigEndian.Uint16(packet[2:])) != len(packet)-headerSize ||
		binary.BigEndian.Uint32(packet[4:]) != 0x2112A442 {
		return message{}, errMessage
	}
	m := message{raw: packet, class: class(binary.BigEndian.Uint16(packet))}
	switch m.class {
	case classRequest, classSuccess, classFailure:
	default:
		return message{}, errMessage
	}
	copy(m.id[:], packet[8:headerSize])
	seen := make([]stun.AttrType, 0, maxAttributes)
	for at := headerSize; at < len(packet); {
		if len(packet)-at < 4 || len(seen) == maxAttributes {
			return message{}, errMessage
		}
		kind := stun.AttrType(binary.BigEndian.Uint16(packet[at:]))
		size := int(binary.BigEndian.Uint16(packet[at+2:]))
		if kind == legacyXORMapped {
			kind = stun.AttrXORMappedAddress // as the ICE library takes it
		}
		next := at + 4 + (size+3)&^3
		if next > len(packet) {
			return message{}, errMessage
		}
		for _, earlier := range seen {
			if earlier == kind { // which one counts would depend on the reader
				return message{}, errMessage
			}
		}
		seen = append(seen, kind)
		if err := m.attribute(kind, at, packet[at+4:at+4+size]); err != nil {
			return message{}, err
		}
		at = next
	}
	return m, nil
}

// attribute takes note of one attribute, or refuses it.
func (m *message) attribute(kind stun.AttrType, at int, value []byte) error {
	// What follows the signature is not signed, and nothing follows the
	// checksum (RFC 8489 sections 14.5 and 14.7).
	if m.fingerprint || m.integrityAt != 0 && kind != stun.AttrFingerprint {
		return errMessage
	}
	valid := true
	switch kind {
	case stun.AttrUsername:
		m.username = value
		valid = len(value) > 0 && len(value) <= maxUsername
	case stun.AttrMessageIntegrity:
		m.integrityAt = at
		valid = len(value) == sha1.Size
	case stun.AttrFingerprint:
		m.fingerprint = true
		valid = len(value) == 4 &&
			binary.BigEndian.Uint32(value) == crc32.ChecksumIEEE(m.raw[:at])^0x5354554e
	case stun.AttrXORMappedAddress:
		m.mapped, valid = mappedAddress(value, m.raw[4:headerSize])
	case stun.AttrMappedAddress, stun.AttrSourceAddress, stun.AttrChangedAddress,
		stun.AttrResponseOrigin, stun.AttrOtherAddress, stun.AttrAlternateServer:
		_, valid = mappedAddress(value, make([]byte, 16))
	case stun.AttrPriority:
		m.priority = true
		valid = len(value) == 4
	case stun.AttrUseCandidate:
		valid = len(value) == 0
	case stun.AttrICEControlling:
		m.controlling = true
		valid = len(value) == 8
	case stun.AttrICEControlled:
		m.controlled = true
		valid = len(value) == 8
	case stun.AttrErrorCode:
		valid = len(value) >= 4
	default:
		valid = kind.Optional()
	}
	if !valid {
		return errMessage
	}
	return nil
}

// legacyXORMapped is what XOR-MAPPED-ADDRESS was in a draft.
const legacyXORMapped stun.AttrType = 0x8020

// mappedAddress reads the value of an address attribute (RFC 8489 section
// 14.2). mask is the 16 bytes that the address is XORed with.
func mappedAddress(value, mask []byte) (netip.AddrPort, bool) {
	if len(value) != 8 && len(value) != 20 {
		return netip.AddrPort{}, false
	}
	if family := value[1]; family != 1 && len(value) == 8 || family != 2 && len(value) == 20 {
		return netip.AddrPort{}, false
	}
	ip := make([]byte, len(value)-4)
	for i := range ip {
		ip[i] = value[4+i] ^ mask[i]
	}
	addr, ok := netip.AddrFromSlice(ip)
	port := binary.BigEndian.Uint16(value[2:]) ^ binary.BigEndian.Uint16(mask)
	return netip.AddrPortFrom(addr.Unmap(), port), ok
}

// isCheck reports whether a request has all that a connectivity check must have
// (RFC 8445 section 7.1).
func (m message) isCheck() bool {
	return m.integrityAt != 0 && m.fingerprint && m.priority && m.controlling != m.controlled
}

// isAnswer reports whether a success response can be the answer to a check.
func (m message) isAnswer() bool {
	return m.integrityAt != 0 && m.fingerprint && m.mapped.IsValid()
}

// fragments splits the user name of a check: the receiver's fragment, then the
// sender's.
func (m message) fragments() (receiver, sender []byte, ok bool) {
	return bytes.Cut(m.username, []byte{':'})
}

// signedWith reports whether MESSAGE-INTEGRITY was made with key, the password
// of the side that was asked. The signature covers a header whose length field
// ends at the signature (RFC 8489 section 14.5).
func (m message) signedWith(key []byte) bool {
	if m.integrityAt == 0 || len(key) == 0 {
		return false
	}
	header := [4]byte(m.raw)
	binary.BigEndian.PutUint16(header[2:], uint16(m.integrityAt+4+sha1.Size-headerSize))
	mac := hmac.New(sha1.New, key)
	mac.Write(header[:])
	mac.Write(m.raw[4:m.integrityAt])
	return hmac.Equal(mac.Sum(nil), m.raw[m.integrityAt+4:m.integrityAt+4+sha1.Size])
}

// clone returns m without what it borrows.
func (m message) clone() message {
	m.raw, m.username = nil, nil
	return m
}
