package pathsock

import (
	"net"
	"net/netip"
	"testing"
)

// Strangers returns how many QUIC packets of unknown sources were dropped.
func (s *Socket) Strangers() uint64 { return s.strangers.Load() }

// Parked reports whether the reader waits for the kernel.
func (s *Socket) Parked() bool { return s.parked.Load() }

// LeavesBy reports whether conn is how packets leave for an address.
func (s *Socket) LeavesBy(to netip.AddrPort, conn *net.UDPConn) bool { return s.outlet(to) == conn }

// QueuePerPeer is how many injected packets of one peer may wait.
const QueuePerPeer = queuePerPeer

// Both runs test with each of the receivers that this system has.
func Both(t *testing.T, test func(t *testing.T, prepare func(*Socket))) {
	t.Run("system", func(t *testing.T) { test(t, func(*Socket) {}) })
	t.Run("plain", func(t *testing.T) { test(t, UsePlainReceiver) })
}
