//go:build !windows

package rtsptest

import (
	"os"
	"syscall"
)

func pause(p *os.Process) (resume func()) {
	p.Signal(syscall.SIGSTOP)
	return func() { p.Signal(syscall.SIGCONT) }
}
