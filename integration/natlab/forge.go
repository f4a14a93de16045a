//go:build linux

package natlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Forgery is a UDP packet that says it comes from another address than it does. Both
// addresses are IPv4.
type Forgery struct {
	From, To netip.AddrPort
	Payload  []byte
}

// Forge sends packets from the host. What the system has no room for is lost.
func (h *Host) Forge(packets ...Forgery) error {
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range packets {
			err := unix.Sendto(fd, f.packet(), 0, &unix.SockaddrInet4{Addr: f.To.Addr().As4()})
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("natlab: forge: %w", err)
	}
	return nil
}

// packet returns the packet, of which the kernel fills in length and checksum.
func (f Forgery) packet() []byte {
	packet := make([]byte, 20, 28+len(f.Payload))
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	from, to := f.From.Addr().As4(), f.To.Addr().As4()
	copy(packet[12:], from[:])
	copy(packet[16:], to[:])
	packet = binary.BigEndian.AppendUint16(packet, f.From.Port())
	packet = binary.BigEndian.AppendUint16(packet, f.To.Port())
	packet = binary.BigEndian.AppendUint16(packet, uint16(8+len(f.Payload)))
	return append(append(packet, 0, 0), f.Payload...) // no checksum, which IPv4 allows
}
