package punch

import (
	"fmt"
	"net/netip"
	"time"
)

// reason says why an attempt found no path. offered is how many addresses of
// the peer could be asked, mapped are those of this side.
func reason(t tally, offered int, mapped []netip.AddrPort) string {
	switch {
	case t.conflicts > 0:
		return "both sides took the same role"
	case t.answered > 0:
		return "an address of the peer answered, but the path was not confirmed"
	case t.heard > 0:
		return "packets of the peer arrive here, but it does not answer ours: a firewall or NAT passes one direction only"
	case offered == 0:
		return "the peer offered no address of a kind that this host has"
	}
	s := fmt.Sprintf("none of the addresses of the peer (%d) answered within %v", t.remotes, failAfter.Truncate(time.Second))
	if hardNAT(mapped) {
		return s + "; the NAT on this side gives every destination its own port"
	}
	return s + "; a firewall or NAT on one of the sides drops the packets"
}

// hardNAT reports whether STUN servers saw one address with several ports.
func hardNAT(mapped []netip.AddrPort) bool {
	for i, m := range mapped {
		for _, other := range mapped[:i] {
			if m.Addr() == other.Addr() && m.Port() != other.Port() {
				return true
			}
		}
	}
	return false
}
