package datagram

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlSpace has room for the control messages of one send or one receive: segment size,
// ECN, address, and on receive what others have asked the kernel for.
const controlSpace = 128

// ParseControl reads control messages, of a send or of a receive. Malformed input yields what came before the fault.
func ParseControl(oob []byte) Control {
	c, _ := parseControl(oob)
	return c
}

// parseControl is ParseControl, and returns the address that a packet was sent to.
func parseControl(oob []byte) (c Control, local netip.Addr) {
	for {
		level, kind, body, rest, ok := nextMessage(oob)
		if !ok {
			return c, local
		}
		switch {
		case level == unix.SOL_UDP && kind == unix.UDP_SEGMENT && len(body) >= 2:
			c.Segment = int(binary.NativeEndian.Uint16(body))
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(body) >= 4:
			c.Segment = int(int32(binary.NativeEndian.Uint32(body)))
		case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(body) >= 1:
			c.ECN = body[0] & ecnMask
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(body) >= 4:
			c.ECN = byte(binary.NativeEndian.Uint32(body)) & ecnMask
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(body) >= unix.SizeofInet4Pktinfo:
			local = netip.AddrFrom4([4]byte(body[4:]))
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(body) >= unix.SizeofInet6Pktinfo:
			local = netip.AddrFrom16([16]byte(body)).Unmap() // also of IPv4
		}
		oob = rest
	}
}

const ecnMask = 0x03 // RFC 3168: the low two bits of the traffic class

// Append appends the control messages of c for an address that is IPv4 or not.
func (c Control) Append(b []byte, is4 bool) []byte {
	if c.Segment > 0 {
		b = appendHeader(b, 2, unix.SOL_UDP, unix.UDP_SEGMENT)
		b = binary.NativeEndian.AppendUint16(b, uint16(c.Segment))
		b = pad(b)
	}
	switch {
	case c.ECN == 0:
	case is4: // also for an IPv4 address on an IPv6 socket
		b = appendHeader(b, 4, unix.IPPROTO_IP, unix.IP_TOS)
		b = binary.NativeEndian.AppendUint32(b, uint32(c.ECN))
		b = pad(b)
	default:
		b = appendHeader(b, 4, unix.IPPROTO_IPV6, unix.IPV6_TCLASS)
		b = binary.NativeEndian.AppendUint32(b, uint32(c.ECN))
		b = pad(b)
	}
	return b
}

// appendSource appends the control message that makes packets leave from an address, by
// whatever interface leads to where they go.
func appendSource(b []byte, from netip.Addr) []byte {
	switch {
	case from.Is4(): // struct in_pktinfo (ip(7)): interface, source, nothing
		b = appendHeader(b, unix.SizeofInet4Pktinfo, unix.IPPROTO_IP, unix.IP_PKTINFO)
		ip := from.As4()
		b = append(append(append(b, 0, 0, 0, 0), ip[:]...), 0, 0, 0, 0)
		b = pad(b)
	case from.Is6(): // struct in6_pktinfo (RFC 3542 section 6.2): source, interface
		b = appendHeader(b, unix.SizeofInet6Pktinfo, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO)
		ip := from.As16()
		b = append(append(b, ip[:]...), 0, 0, 0, 0)
		b = pad(b)
	}
	return b
}

// PutECN writes the ECN field of a received packet as an IPv6 control message, and
// returns the size of what it wrote: 0 if there is no room or no mark.
func PutECN(oob []byte, ecn byte) int {
	if ecn == 0 || len(oob) < unix.CmsgSpace(4) {
		return 0
	}
	b := appendHeader(oob[:0], 4, unix.IPPROTO_IPV6, unix.IPV6_TCLASS)
	return len(pad(binary.NativeEndian.AppendUint32(b, uint32(ecn))))
}

// nextMessage takes the first control message off b (cmsg(3)).
func nextMessage(b []byte) (level, kind int32, body, rest []byte, ok bool) {
	if len(b) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil, false
	}
	var size uint64
	if bits.UintSize == 64 {
		size = binary.NativeEndian.Uint64(b)
	} else {
		size = uint64(binary.NativeEndian.Uint32(b))
	}
	if size < unix.SizeofCmsghdr || size > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	level = int32(binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-8:]))
	kind = int32(binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-4:]))
	body = b[unix.CmsgLen(0):max(int(size), unix.CmsgLen(0))]
	rest = b[min(len(b), unix.CmsgSpace(len(body))):]
	return level, kind, body, rest, true
}

// appendHeader begins a control message with a body of n bytes.
func appendHeader(b []byte, n int, level, kind uint32) []byte {
	if bits.UintSize == 64 {
		b = binary.NativeEndian.AppendUint64(b, uint64(unix.CmsgLen(n)))
	} else {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.CmsgLen(n)))
	}
	b = binary.NativeEndian.AppendUint32(b, level)
	return binary.NativeEndian.AppendUint32(b, kind)
}

// pad ends a control message, so that another one may follow.
func pad(b []byte) []byte {
	for len(b)%(bits.UintSize/8) != 0 {
		b = append(b, 0)
	}
	return b
}
