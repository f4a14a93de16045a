package pathsock_test

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentMessage returns the control message with which QUIC says that a
// batch of n packets of 1232 bytes is to be cut.
func segmentMessage(n int) []byte {
	if n < 2 {
		return nil
	}
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], 1232)
	return b
}
