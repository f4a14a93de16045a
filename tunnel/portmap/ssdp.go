package portmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
)

// ssdpGroup is where all UPnP devices listen.
func ssdpGroup() netip.Addr { return netip.AddrFrom4([4]byte{239, 255, 255, 250}) }

// igdType begins the type of all internet gateway devices.
const igdType = "urn:schemas-upnp-org:device:InternetGatewayDevice:"

// maxPacket is more than any answer to a search has.
const maxPacket = 2048

// searchPackets are the searches for both versions (UPnP Device Architecture 2.0, section
// 1.3.2). Routers of version 2 must answer the first, too, but some do not.
func searchPackets() (packets [][]byte) {
	for _, version := range []string{"1", "2"} {
		packets = append(packets, fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: %v:%d\r\n"+
			"MAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s%s\r\n\r\n", ssdpGroup(), ssdpPort, igdType, version))
	}
	return packets
}

// parseFound reads an answer to a search that came from an address, and returns where the
// router describes itself: nowhere else than at that address.
func parseFound(packet []byte, from netip.Addr) (*url.URL, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(packet)), nil)
	if err != nil {
		return nil, errStray
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("ST"), igdType) {
		return nil, errStray
	}
	at, err := url.Parse(r.Header.Get("Location"))
	if err != nil || !isAt(at, from) {
		return nil, errStray
	}
	return at, nil
}

// isAt reports whether a URL is one of plain HTTP at that address.
func isAt(u *url.URL, host netip.Addr) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && u.Scheme == "http" && addr == host
}

// discover looks for UPnP routers until ctx is done, and calls found for each, by the address
// that answered and the URL that it told.
func (r router) discover(ctx context.Context, found func(netip.Addr, *url.URL)) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.local, 0)))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer wakeWhenDone(ctx, conn)()
	if device, err := net.InterfaceByName(r.device); err == nil {
		// Else the group is asked where the system thinks best.
		ipv4.NewPacketConn(conn).SetMulticastInterface(device)
	}
	buffer, seen := make([]byte, maxPacket), make(answers)
	for wait := askFirst; ctx.Err() == nil; wait *= 2 {
		for _, packet := range searchPackets() {
			for _, to := range r.ssdp {
				conn.WriteToUDPAddrPort(packet, to) // an error is a lost packet
			}
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		for ctx.Err() == nil {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			host := from.Addr().Unmap()
			if err != nil || !r.subnet.Contains(host) || host == r.local {
				continue // an error is one packet's, as when nobody listens at the gateway
			}
			if at, err := parseFound(buffer[:n], host); err == nil && seen.add(host, at, host == r.gateway.Addr()) {
				found(host, at)
			}
		}
	}
	return fmt.Errorf("no router answered: %w", context.Cause(ctx))
}

// Limits of what is followed up.
const (
	maxRouters      = 4 // besides the default gateway, which nobody can keep out
	maxDescriptions = 2 // of one router
)

// answers are the descriptions that were told, by who told them.
type answers map[netip.Addr][]string

// add reports whether a description is new and to be followed up.
func (a answers) add(host netip.Addr, at *url.URL, gateway bool) bool {
	known, here := a[host]
	if slices.Contains(known, at.String()) || len(known) == maxDescriptions || !here && !gateway && len(a) >= maxRouters {
		return false
	}
	a[host] = append(known, at.String())
	return true
}
