//go:build !windows

package camera

import "syscall"

const (
	errRefused         = syscall.ECONNREFUSED
	errReset           = syscall.ECONNRESET
	errHostUnreachable = syscall.EHOSTUNREACH
	errNetUnreachable  = syscall.ENETUNREACH
	errNoFiles         = syscall.EMFILE // of the process
	errNoFilesHere     = syscall.ENFILE // of the machine
)
