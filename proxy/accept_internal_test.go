package proxy

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A fullListener accepts every other connection; between them there are no files left.
type fullListener struct {
	net.Listener
	times int
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.times++; l.times%2 == 1 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// TestAcceptComplainsOnce: a listener that has no files now and then says so once.
func TestAcceptComplainsOnce(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // of one goroutine; read after its end
	l := NewListener(ListenerConfig{Log: slog.New(slog.NewTextHandler(&log, nil))})
	var accepting sync.WaitGroup
	accepting.Go(func() { l.accept(t.Context(), &fullListener{Listener: inner}, nil) })
	for range 5 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).CloseWrite()
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want the end", err)
		}
		c.Close()
	}
	inner.Close()
	accepting.Wait()
	if n := strings.Count(log.String(), "cannot accept connections"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
