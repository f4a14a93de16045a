//go:build unix

package pathsock

import (
	"errors"
	"syscall"
)

// transient reports whether reading may go on after err.
func transient(err error) bool {
	return oneOf(err, syscall.EINTR, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENETUNREACH,
		syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EMSGSIZE)
}

// congested reports whether a send failed because a queue was full.
func congested(err error) bool {
	return oneOf(err, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN)
}

// tooLarge reports whether a packet was larger than the path is known to carry.
func tooLarge(err error) bool { return oneOf(err, syscall.EMSGSIZE) }

func oneOf(err error, codes ...syscall.Errno) bool {
	for _, code := range codes {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
