package portmap

import (
	"encoding/binary"
	"net/netip"
)

// What NAT-PMP packets consist of (RFC 6886 sections 3.2 to 3.5).
const (
	natpmpVersion     = 0
	natpmpAddress     = 0
	natpmpMapUDP      = 1
	natpmpAnswer      = 0x80 // set in the opcode of answers
	natpmpBadVersion  = 1
	natpmpAddressSize = 12
	natpmpMapSize     = 16
	natpmpErrorSize   = 8
)

// A natpmpReply is an answer: external for the address, the others for a mapping.
type natpmpReply struct {
	opcode       byte
	result       uint16
	epoch        uint32 // seconds
	external     netip.Addr
	port         uint16
	externalPort uint16
	life         uint32 // seconds
}

// askNATPMPAddress returns the question for the external address (section 3.2).
func askNATPMPAddress() []byte { return []byte{natpmpVersion, natpmpAddress} }

// askNATPMPMapping returns the request for a mapping (section 3.3). The life is in
// seconds; 0 deletes, and then the external port must be 0.
func askNATPMPMapping(port, external uint16, life uint32) []byte {
	b := []byte{natpmpVersion, natpmpMapUDP, 0, 0}
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, external)
	return binary.BigEndian.AppendUint32(b, life)
}

// parseNATPMP reads an answer. Malformed ones are errStray.
func parseNATPMP(packet []byte) (r natpmpReply, err error) {
	if len(packet) < natpmpErrorSize || len(packet) > pcpMax || packet[1]&natpmpAnswer == 0 {
		return r, errStray
	}
	if packet[0] == pcpVersion { // section 3.5 lets a server of the successor say so
		return r, refusal{NATPMP, natpmpBadVersion}
	}
	r = natpmpReply{
		opcode: packet[1] &^ natpmpAnswer,
		result: binary.BigEndian.Uint16(packet[2:]),
		epoch:  binary.BigEndian.Uint32(packet[4:]),
	}
	switch {
	case packet[0] != natpmpVersion:
		return r, errStray
	case r.result != 0: // what follows is undefined
	case r.opcode == natpmpAddress && len(packet) >= natpmpAddressSize:
		r.external = netip.AddrFrom4([4]byte(packet[8:]))
	case r.opcode == natpmpMapUDP && len(packet) >= natpmpMapSize:
		r.port = binary.BigEndian.Uint16(packet[8:])
		r.externalPort = binary.BigEndian.Uint16(packet[10:])
		r.life = binary.BigEndian.Uint32(packet[12:])
	default:
		return r, errStray
	}
	return r, nil
}

// isNATPMPRefusal reports whether a packet says that its sender does not know the
// version of the question, which it was asked in PCP (RFC 6887 section 9).
func isNATPMPRefusal(packet []byte) bool {
	r, err := parseNATPMP(packet)
	return err == nil && r.result == natpmpBadVersion
}
