package wire

import (
	"time"

	"golang.org/x/sys/unix"
)

// tcpRTOMaxMS is TCP_RTO_MAX_MS, of Linux 6.15.
const tcpRTOMaxMS = 44

func limitRetry(fd int, retry time.Duration) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, tcpRTOMaxMS, int(retry.Milliseconds()))
}
