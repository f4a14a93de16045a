package portmap

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// defaultGateway returns the gateway of the best default route.
func defaultGateway() (netip.Addr, error) {
	var device uint32 // that leads to the internet; no packet is sent
	if err := windows.GetBestInterfaceEx(&windows.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}}, &device); err != nil {
		return netip.Addr{}, errNoGateway
	}
	var table *windows.MibIpForwardTable2
	if err := windows.GetIpForwardTable2(windows.AF_INET, &table); err != nil {
		return netip.Addr{}, err
	}
	defer windows.FreeMibTable(unsafe.Pointer(table))
	best, least := netip.Addr{}, uint32(0)
	for _, row := range table.Rows() {
		if row.InterfaceIndex != device || row.DestinationPrefix.PrefixLength != 0 || best.IsValid() && row.Metric >= least {
			continue
		}
		next := (*windows.RawSockaddrInet4)(unsafe.Pointer(&row.NextHop))
		if a := netip.AddrFrom4(next.Addr); !a.IsUnspecified() {
			best, least = a, row.Metric
		}
	}
	if !best.IsValid() {
		return netip.Addr{}, errNoGateway
	}
	return best, nil
}
