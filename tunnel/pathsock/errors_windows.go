package pathsock

import (
	"errors"

	"golang.org/x/sys/windows"
)

// transient reports whether reading may go on after err. Windows reports here
// that a packet sent earlier was refused by its receiver.
func transient(err error) bool {
	return oneOf(err, windows.WSAECONNRESET, windows.WSAENETRESET, windows.WSAECONNREFUSED,
		windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAEMSGSIZE, windows.ERROR_PORT_UNREACHABLE)
}

// congested reports whether a send failed because a queue was full.
func congested(err error) bool {
	return oneOf(err, windows.WSAENOBUFS, windows.WSAEWOULDBLOCK)
}

// tooLarge reports whether a packet was larger than the path is known to carry.
func tooLarge(err error) bool { return oneOf(err, windows.WSAEMSGSIZE) }

func oneOf(err error, codes ...error) bool {
	for _, code := range codes {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
