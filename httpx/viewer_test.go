package httpx

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// ended is a connection whose other end has ended its direction.
type ended struct{ net.Conn }

func (ended) Read([]byte) (int, error)        { return 0, io.EOF }
func (ended) Write(p []byte) (int, error)     { return len(p), nil }
func (ended) CloseWrite() error               { return nil }
func (ended) Close() error                    { return nil }
func (ended) SetReadDeadline(time.Time) error { return nil }

func TestViewerOutwaits(t *testing.T) {
	tests := map[string]struct {
		busy  bool
		size  int // of the read
		event func(*viewer)
		after time.Duration
		err   error
	}{
		"idle":                  {false, 1, func(*viewer) {}, 0, io.EOF},
		"reading an upload":     {true, 4096, func(*viewer) {}, 0, io.EOF},
		"silent":                {true, 1, func(*viewer) {}, patience, io.EOF},
		"something is sent":     {true, 1, func(v *viewer) { v.Write([]byte("x")) }, time.Second + patience, io.EOF},
		"the handler returns":   {true, 1, func(v *viewer) { v.work(false, false) }, time.Second, io.EOF},
		"the server gives up":   {true, 1, func(v *viewer) { v.SetReadDeadline(time.Unix(1, 0)) }, time.Second, os.ErrDeadlineExceeded},
		"a deadline":            {true, 1, func(v *viewer) { v.SetReadDeadline(time.Now().Add(time.Second)) }, 2 * time.Second, os.ErrDeadlineExceeded},
		"the connection closes": {true, 1, func(v *viewer) { v.Close() }, time.Second, io.EOF},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &viewer{Conn: ended{}, changed: make(chan struct{}, 1)}
				v.work(tt.busy, false)
				start := time.Now()
				timer := time.AfterFunc(time.Second, func() { tt.event(v) })
				defer timer.Stop()
				_, err := v.Read(make([]byte, tt.size))
				if got := time.Since(start); got != tt.after || !errors.Is(err, tt.err) {
					t.Errorf("Read() = %v after %v, want %v after %v", err, got, tt.err, tt.after)
				}
			})
		})
	}
}

func FuzzLocalName(f *testing.F) {
	for _, host := range []string{"localhost:80", "web.home.localhost", "[::1]:80", "127.0.0.1", "::1%lo", "a.example", "[", "]:", ".localhost"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name := localName(host)
		if again := localName(name); again != name {
			t.Errorf("localName(%q) = %q, but of that %q", host, name, again)
		}
		foreignHost(host)
		portOf(host)
	})
}
