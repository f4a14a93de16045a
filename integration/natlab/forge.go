//go:build linux

package natlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Forge sends a UDP packet from the host that says it comes from another address. Both
// addresses are IPv4.
func (h *Host) Forge(from, to netip.AddrPort, payload []byte) error {
	packet := make([]byte, 20, 28+len(payload))
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in length and checksum
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(packet[12:], src[:])
	copy(packet[16:], dst[:])
	packet = binary.BigEndian.AppendUint16(packet, from.Port())
	packet = binary.BigEndian.AppendUint16(packet, to.Port())
	packet = binary.BigEndian.AppendUint16(packet, uint16(8+len(payload)))
	packet = append(append(packet, 0, 0), payload...) // no checksum, which IPv4 allows
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: dst})
	})
	if err != nil {
		return fmt.Errorf("natlab: forge: %w", err)
	}
	return nil
}
