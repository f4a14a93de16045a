//go:build !windows

package proxy

import "syscall"

const errInUse = syscall.EADDRINUSE
