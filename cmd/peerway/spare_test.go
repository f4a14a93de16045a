package main

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A fullListener has no files but that which was given back.
type fullListener struct {
	net.Listener
	l     *spareListener
	times int // that there was none at all
}

func (f *fullListener) Accept() (net.Conn, error) {
	if f.l.spare == nil && f.times == 0 {
		near, far := net.Pipe()
		far.Close()
		return near, nil
	}
	if f.l.spare == nil {
		f.times--
	}
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

// TestSpareListener answers with the file that was kept for that, and tries again, and says so
// once, if somebody was faster.
func TestSpareListener(t *testing.T) {
	var log bytes.Buffer
	l := &spareListener{log: slog.New(slog.NewTextHandler(&log, nil))}
	defer l.release()
	full := &fullListener{l: l}
	l.Listener = full
	for _, faster := range []int{0, 2, 1} {
		full.times = faster
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if n := strings.Count(log.String(), "cannot answer"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
