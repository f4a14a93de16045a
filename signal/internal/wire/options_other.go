//go:build !linux && !darwin

package wire

import (
	"net"
	"time"
)

// setOptions does nothing: there are no such options here.
func setOptions(net.Conn, int, time.Duration) {}
