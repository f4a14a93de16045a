package portmap

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultGateway returns the gateway of the best default route.
func defaultGateway() (netip.Addr, error) {
	// /proc/net is that of the main thread, which may be in another network namespace.
	table, err := os.ReadFile("/proc/thread-self/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	return gatewayIn(string(table))
}

// gatewayIn reads a routing table as in proc_net(5): interface, destination, gateway,
// flags, two that are of no use, metric, mask.
func gatewayIn(table string) (best netip.Addr, err error) {
	least := -1
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		gateway, err := hex.DecodeString(f[2])
		flags, err2 := strconv.ParseUint(f[3], 16, 16)
		metric, err3 := strconv.Atoi(f[6])
		if err != nil || err2 != nil || err3 != nil || len(gateway) != 4 || flags&unix.RTF_UP == 0 ||
			least >= 0 && metric >= least {
			continue
		}
		// The kernel prints the address as a number, in the order of this machine.
		var address [4]byte
		binary.NativeEndian.PutUint32(address[:], binary.BigEndian.Uint32(gateway))
		least, best = metric, netip.AddrFrom4(address)
	}
	if !best.IsValid() || best.IsUnspecified() { // a point-to-point link has no gateway
		return netip.Addr{}, errNoGateway
	}
	return best, nil
}
