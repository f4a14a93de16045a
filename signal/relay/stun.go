package relay

import (
	"encoding/binary"
	"net/netip"
)

// The parts of STUN (RFC 8489) that a server needs which answers Binding
// requests and nothing else.
const (
	stunHeader     = 20
	stunCookie     = 0x2112A442
	stunRequest    = 0x0001
	stunSuccess    = 0x0101
	stunError      = 0x0111
	attrMapped     = 0x0020 // XOR-MAPPED-ADDRESS
	attrChange     = 0x0003 // CHANGE-REQUEST (RFC 5780 section 7.2)
	attrReturn     = 0x0027 // RESPONSE-PORT (RFC 5780 section 7.5)
	attrErrorCode  = 0x0009
	attrUnknown    = 0x000A
	attrRequired   = 0x8000 // attributes below must be understood (section 14)
	maxStunPacket  = 548    // what every path carries (section 6.1)
	maxUnknownAttr = 4      // named in an error answer, so that it stays small
	changePort     = 0x02   // in the last byte of CHANGE-REQUEST
)

// AppendSTUN appends the answer to one packet from that address to dst. It
// reports false for what deserves no answer: anything but a well-formed Binding
// request. An answer exceeds its request by 24 bytes at most. d says how it is to be sent.
func AppendSTUN(dst, packet []byte, from netip.AddrPort) (answer []byte, d Delivery, ok bool) {
	if len(packet) < stunHeader || len(packet) > maxStunPacket ||
		binary.BigEndian.Uint16(packet) != stunRequest ||
		binary.BigEndian.Uint32(packet[4:]) != stunCookie ||
		int(binary.BigEndian.Uint16(packet[2:])) != len(packet)-stunHeader {
		return dst, Delivery{}, false
	}
	d = Delivery{To: from}
	wishes, ok := attributes(packet[stunHeader:])
	if !ok {
		return dst, d, false
	}
	if len(wishes.unknown) > 0 {
		return appendUnknown(dst, packet, wishes.unknown), d, true
	}
	d.Elsewhere = wishes.change == changePort
	if wishes.port != 0 {
		d.To = netip.AddrPortFrom(from.Addr(), wishes.port)
	}
	return appendMapped(dst, packet, from), d, wishes.change == 0 || wishes.change == changePort
}

// A Delivery is how an answer is sent.
type Delivery struct {
	To        netip.AddrPort // the address is always that of who asked
	Elsewhere bool           // from another port than the one that was asked
}

// wishes are what the attributes of a request ask for.
type wishes struct {
	unknown []uint16 // types that a server must understand to answer, and this one does not
	change  byte     // what is to be changed
	port    uint16   // to which the answer goes; 0: where the request came from
}

// attributes walks the attributes. It reports false if they are malformed.
func attributes(b []byte) (w wishes, ok bool) {
	for len(b) > 0 {
		if len(b) < 4 {
			return w, false
		}
		kind := binary.BigEndian.Uint16(b)
		size := (int(binary.BigEndian.Uint16(b[2:])) + 3) &^ 3
		if size > len(b)-4 {
			return w, false
		}
		switch {
		case kind == attrChange && size == 4:
			w.change = b[7]
		case kind == attrReturn && size == 4:
			w.port = binary.BigEndian.Uint16(b[4:])
		case kind < attrRequired && len(w.unknown) < maxUnknownAttr:
			w.unknown = append(w.unknown, kind)
		}
		b = b[4+size:]
	}
	return w, true
}

func appendMapped(dst, request []byte, from netip.AddrPort) []byte {
	addr := from.Addr().Unmap()
	family, size := byte(1), 4
	if addr.Is6() {
		family, size = 2, 16
	}
	dst = appendHeader(dst, stunSuccess, 4+4+size, request)
	dst = binary.BigEndian.AppendUint16(dst, attrMapped)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+size))
	dst = append(dst, 0, family)
	dst = binary.BigEndian.AppendUint16(dst, from.Port()^uint16(stunCookie>>16))
	for i, b := range addr.AsSlice() {
		dst = append(dst, b^request[4+i]) // the cookie, then the transaction id
	}
	return dst
}

func appendUnknown(dst, request []byte, unknown []uint16) []byte {
	padded := (2*len(unknown) + 3) &^ 3
	dst = appendHeader(dst, stunError, 4+4+4+padded, request)
	dst = binary.BigEndian.AppendUint16(dst, attrErrorCode)
	dst = binary.BigEndian.AppendUint16(dst, 4)
	dst = append(dst, 0, 0, 4, 20) // 420 Unknown Attribute
	dst = binary.BigEndian.AppendUint16(dst, attrUnknown)
	dst = binary.BigEndian.AppendUint16(dst, uint16(2*len(unknown)))
	for _, kind := range unknown {
		dst = binary.BigEndian.AppendUint16(dst, kind)
	}
	return append(dst, make([]byte, padded-2*len(unknown))...)
}

func appendHeader(dst []byte, kind uint16, size int, request []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	return append(dst, request[4:stunHeader]...)
}
