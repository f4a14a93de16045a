//go:build linux

package natlab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// A Stack is what a site has of the two internet protocols.
type Stack uint8

const (
	// IPv4 is addresses of its own behind a box that translates them.
	IPv4 Stack = iota
	// IPv6 is global addresses, and none of IPv4.
	IPv6
	// Dual is both.
	Dual
)

// String returns a short name.
func (s Stack) String() string { return [...]string{"IPv4", "IPv6", "dual"}[s] }

func (s Stack) has4() bool { return s != IPv6 }
func (s Stack) has6() bool { return s != IPv4 }

// SignalName is a name of the signal host, which stands for both of its addresses
// everywhere in a lab.
const SignalName = "signal.test"

// The public network is 2001:db8::/64, with a router that sends what is for the inner
// networks to their boxes.
const (
	bits6     = 64
	router6   = 1         // host number of the router
	boxInside = "fe80::1" // of each box, for those behind it
	always    = "::/0"    // the default route
)

// address6 returns an address in 2001:db8:area:network::/64.
func address6(area, network uint16, host int) netip.Addr {
	a := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8}
	a[4], a[5], a[6], a[7] = byte(area>>8), byte(area), byte(network>>8), byte(network)
	a[14], a[15] = byte(host>>8), byte(host)
	return netip.AddrFrom16(a)
}

// public6 returns an address of the public network.
func public6(host int) netip.Addr { return address6(0, 0, host) }

// route6 makes the router of the public network, unless there is one. Until then there
// is nothing that it could say on wires whose frames are counted.
func (l *Lab) route6() {
	l.t.Helper()
	if l.routes6 {
		return
	}
	l.routes6 = true
	l.set(l.core, "ipv6/conf/all/forwarding", "1")
	l.set(l.core, "ipv6/conf/"+bridge+"/disable_ipv6", "0")
	l.ip(l.core, fmt.Sprintf("addr add %v/%d dev %s nodad", public6(router6), bits6, bridge))
}

// prepare6 makes addresses of a namespace be of use at once, and lets nobody but the
// lab give it any.
func (l *Lab) prepare6(namespace string) {
	l.t.Helper()
	for _, of := range []string{"all", "default"} {
		l.set(namespace, "ipv6/conf/"+of+"/accept_dad", "0")
		l.set(namespace, "ipv6/conf/"+of+"/accept_ra", "0")
	}
}

// join returns the lines of ip(8) that connect a device to the public network.
// Addresses that are not valid are left out.
func join(device string, addr, addr6 netip.Addr) (lines []string) {
	if addr.IsValid() {
		lines = append(lines, fmt.Sprintf("addr add %v/24 dev %s", addr, device))
	}
	if addr6.IsValid() {
		lines = append(lines, fmt.Sprintf("addr add %v/%d dev %s nodad", addr6, bits6, device))
	}
	lines = append(lines, "link set "+device+" up")
	if addr6.IsValid() {
		lines = append(lines, fmt.Sprintf("route add %s via %v dev %s", always, public6(router6), device))
	}
	return lines
}

// files is where ip(8) looks for what the programs of a namespace see in /etc.
const files = "/etc/netns"

// tellNames lets the programs on a host know the signal host by its name.
func (l *Lab) tellNames(namespace string) {
	l.t.Helper()
	dir := filepath.Join(files, namespace)
	text := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%v %s\n%v %s\n", l.public(firstHost), SignalName, public6(firstHost), SignalName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatalf("natlab: names: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(text), 0o644); err != nil {
		l.t.Fatalf("natlab: names: %v", err)
	}
}

// forgetNames undoes tellNames.
func forgetNames(namespace string) {
	_ = os.RemoveAll(filepath.Join(files, namespace)) // what is left does no harm
	_ = os.Remove(files)                              // unless somebody else uses it
}
