// Package portmap opens a UDP port at the router of the local network, so that packets
// of strangers arrive. It speaks PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP IGD, versions
// 1 and 2, asks for all three at once, and uses the best that answers, in this order. It is
// for IPv4.
//
// What comes from the network is believed only if it comes from the router: answers of PCP
// and NAT-PMP from the default gateway, those of UPnP from an address of the local subnet,
// which then is the only one that is spoken HTTP with.
//
// # Ownership
//
// [Mapper.Run] owns the mapping at the router and the goroutines that look for one, and
// each question to the router the socket that it is sent from. Between questions nothing
// is open but the socket that hears the router's announcements. [Probe] owns the mapping that
// it tries, and the socket that this leads to.
package portmap
