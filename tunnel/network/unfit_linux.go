package network

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unfit returns the addresses that nobody should begin to use: whose network has been
// given up by its router, or that may be somebody else's (RFC 4862). Package net does not
// tell. Where the kernel does not either, there are none.
func unfit() []netip.Addr {
	return flagged(unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED)
}

// temporary returns the addresses that the host changes every day (RFC 8981).
func temporary() []netip.Addr { return flagged(unix.IFA_F_TEMPORARY) }

// flagged returns the addresses of IPv6 with one of these flags.
func flagged(flags byte) (addrs []netip.Addr) {
	table, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET6)
	if err != nil {
		return nil
	}
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		// The third byte of an ifaddrmsg is the flags (rtnetlink(7)).
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg ||
			m.Data[2]&flags == 0 {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			continue
		}
		for _, a := range attributes {
			if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.IFA_ADDRESS {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}
