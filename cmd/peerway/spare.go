package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	spareAgain = 100 * time.Millisecond // accept is tried so long after a file was missing for it
	spareSaid  = time.Minute            // until that is logged again
)

// A spareListener answers also where the process has run out of files: it keeps one open for
// who comes then, as a person would who wants to know what is wrong. Accept is called by
// one goroutine.
type spareListener struct {
	net.Listener // owned
	log          *slog.Logger
	spare        *os.File // nil: it is in use
	said         time.Time
}

// Accept implements [net.Listener].
func (l *spareListener) Accept() (net.Conn, error) {
	if l.spare == nil {
		l.spare, _ = os.Open(os.DevNull) // else with the next one
	}
	for {
		c, err := l.Listener.Accept()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return c, err
		}
		if l.spare != nil {
			l.release()
			continue
		}
		if now := time.Now(); now.Sub(l.said) > spareSaid {
			l.said = now
			l.log.Warn("cannot answer status: too many files are open", "err", err)
		}
		time.Sleep(spareAgain) // the listener is closed at any time: the next Accept says so
	}
}

// release closes the spare file.
func (l *spareListener) release() {
	if l.spare != nil {
		l.spare.Close()
		l.spare = nil
	}
}
