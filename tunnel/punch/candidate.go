package punch

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/ice/v3"
)

// How many addresses an attempt offers, of the host and mapped ones.
const (
	maxHosts  = 6
	maxMapped = 4
)

// A candidate is an address at which a side may be reachable.
type candidate struct {
	addr     netip.AddrPort
	mapped   bool // seen by a STUN server, or opened at a NAT; else of the host itself
	priority uint32
	round    uint8 // of a search, in which it was measured; 0: it is an address to send to
	reply    bool  // to what the peer has measured in that round
}

// newCandidate returns the candidate that is the rank'th best of its kind (RFC
// 8445 section 5.1.2.1).
func newCandidate(addr netip.AddrPort, mapped bool, rank int) candidate {
	kind := uint32(126)
	if mapped {
		kind = 100
	}
	return candidate{addr: addr, mapped: mapped, priority: kind<<24 | uint32(65535-rank)<<8 | 255}
}

// String returns the text that RFC 8839 section 5.1 defines, without the
// address of the host behind a mapped one, which is nobody's business.
func (c candidate) String() string {
	foundation, kind := "h", "host"
	if c.mapped {
		foundation, kind = "s", "srflx"
	}
	family := 6
	if c.addr.Addr().Is4() {
		family = 4
	}
	text := fmt.Sprintf("%s%d 1 udp %d %s %d typ %s",
		foundation, family, c.priority, c.addr.Addr(), c.addr.Port(), kind)
	if c.round != 0 {
		attribute := roundAttribute
		if c.reply {
			attribute = replyAttribute
		}
		text += fmt.Sprintf(" %s %d", attribute, c.round)
	}
	return text
}

// Extensions (RFC 8839 section 5.1): the address is not the socket's, but what the NAT has
// just given to another one. Who does not know them sends there in vain.
const (
	roundAttribute = "round"
	replyAttribute = "reply"
)

// parseCandidate reads what String writes. Extensions that it does not know are ignored.
func parseCandidate(s string) (candidate, error) {
	fields := strings.Fields(s)
	if len(s) > maxCandidate || len(fields) < 8 || fields[1] != "1" ||
		!strings.EqualFold(fields[2], "udp") || fields[6] != "typ" {
		return candidate{}, fmt.Errorf("%w: candidate %.64q", ErrDescription, s)
	}
	priority, err1 := strconv.ParseUint(fields[3], 10, 32)
	ip, err2 := netip.ParseAddr(fields[4])
	port, err3 := strconv.ParseUint(fields[5], 10, 16)
	addr := netip.AddrPortFrom(ip.Unmap(), uint16(port))
	if err1 != nil || err2 != nil || err3 != nil || !usable(addr) {
		return candidate{}, fmt.Errorf("%w: candidate %.64q", ErrDescription, s)
	}
	c := candidate{addr: addr, priority: uint32(priority)}
	switch fields[7] {
	case "host":
	case "srflx", "prflx":
		c.mapped = true
	default:
		return candidate{}, fmt.Errorf("%w: candidate %.64q", ErrDescription, s)
	}
	for more := fields[8:]; len(more) >= 2; more = more[2:] {
		if more[0] != roundAttribute && more[0] != replyAttribute {
			continue
		}
		if round, err := strconv.ParseUint(more[1], 10, 8); err == nil {
			c.round, c.reply = uint8(round), round != 0 && more[0] == replyAttribute
		}
	}
	return c, nil
}

// usable reports whether a check can be sent to addr at all. Link-local
// addresses mean another place on every host.
func usable(addr netip.AddrPort) bool {
	ip := addr.Addr()
	return addr.IsValid() && addr.Port() != 0 && ip.Zone() == "" && !ip.IsUnspecified() && !ip.IsMulticast() &&
		!ip.IsLinkLocalUnicast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// forLibrary returns c as the ICE library wants it.
func (c candidate) forLibrary() (ice.Candidate, error) {
	if c.mapped {
		return ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{
			Network: "udp", Address: c.addr.Addr().String(), Port: int(c.addr.Port()),
			Component: ice.ComponentRTP, Priority: c.priority,
		})
	}
	return ice.NewCandidateHost(&ice.CandidateHostConfig{
		Network: "udp", Address: c.addr.Addr().String(), Port: int(c.addr.Port()),
		Component: ice.ComponentRTP, Priority: c.priority,
	})
}
