package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// What PCP packets consist of (RFC 6887 sections 7, 11.1 and 19).
const (
	pcpVersion  = 2
	pcpAnnounce = 0
	pcpMap      = 1
	pcpAnswer   = 0x80 // set in the opcode of answers
	pcpHeader   = 24
	pcpMapSize  = 36
	pcpMax      = 1100
	protocolUDP = 17

	pcpBadOpcode = 4 // a result (section 7.4)
)

// A nonce proves to a PCP server that a mapping is ours.
type nonce [12]byte

// A pcpQuestion is a MAP request.
type pcpQuestion struct {
	local    netip.Addr // of the client
	nonce    nonce
	port     uint16         // of the client
	external netip.AddrPort // wanted; the router may give another
	life     uint32         // seconds; 0 deletes
}

// A pcpReply is an answer of a PCP server. All after epoch is for opcode MAP.
type pcpReply struct {
	opcode, result byte
	life, epoch    uint32 // seconds
	nonce          nonce
	port           uint16
	external       netip.AddrPort
}

// appendPCPHeader appends the header that all requests have.
func appendPCPHeader(b []byte, opcode byte, life uint32, local netip.Addr) []byte {
	b = append(b, pcpVersion, opcode, 0, 0)
	b = binary.BigEndian.AppendUint32(b, life)
	address := local.As16() // IPv4 is mapped into IPv6
	return append(b, address[:]...)
}

// announcePCP returns the request that changes nothing (section 14.1).
func announcePCP(local netip.Addr) []byte { return appendPCPHeader(nil, pcpAnnounce, 0, local) }

func (q pcpQuestion) packet() []byte {
	b := appendPCPHeader(nil, pcpMap, q.life, q.local)
	b = append(b, q.nonce[:]...)
	b = append(b, protocolUDP, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, q.port)
	b = binary.BigEndian.AppendUint16(b, q.external.Port())
	wanted := netip.IPv4Unspecified()
	if q.external.Addr().IsValid() {
		wanted = q.external.Addr()
	}
	address := wanted.As16()
	return append(b, address[:]...)
}

// answers reports whether r belongs to q.
func (r pcpReply) answers(q pcpQuestion) bool {
	return r.opcode == pcpMap && r.nonce == q.nonce && r.port == q.port
}

// parsePCP reads an answer (sections 7.2 and 11.1). One of a router that speaks NAT-PMP
// only is a [refusal], others that are malformed are errStray.
func parsePCP(packet []byte) (r pcpReply, err error) {
	if isNATPMPRefusal(packet) {
		return r, refusal{PCP, natpmpBadVersion}
	}
	if len(packet) < pcpHeader || len(packet) > pcpMax || len(packet)%4 != 0 ||
		packet[0] != pcpVersion || packet[1]&pcpAnswer == 0 {
		return r, errStray
	}
	r = pcpReply{
		opcode: packet[1] &^ pcpAnswer,
		result: packet[3],
		life:   binary.BigEndian.Uint32(packet[4:]),
		epoch:  binary.BigEndian.Uint32(packet[8:]),
	}
	if r.opcode != pcpMap {
		return r, nil
	}
	body := packet[pcpHeader:]
	if len(body) < pcpMapSize || body[12] != protocolUDP {
		return r, errStray
	}
	copy(r.nonce[:], body)
	r.port = binary.BigEndian.Uint16(body[16:])
	address, _ := netip.AddrFromSlice(body[20:36])
	r.external = netip.AddrPortFrom(address.Unmap(), binary.BigEndian.Uint16(body[18:]))
	return r, nil
}

// A refusal is the answer of a router that does not want to, with the code of the protocol.
type refusal struct {
	protocol Protocol
	code     int
}

// Error implements error.
func (r refusal) Error() string { return fmt.Sprintf("%s: refused with code %d", r.protocol, r.code) }
