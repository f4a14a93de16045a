package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// firstBytes are the beginnings of connections, and what they speak.
var firstBytes = map[string]protocol{
	"GET / HTTP/1.1\r\n":                     httpProtocol,
	"GET / HTTP/1.0\n":                       httpProtocol,
	"M-SEARCH * HTTP/1.1\r\n":                httpProtocol,
	"OPTIONS * HTTP/1.1\r\n":                 httpProtocol,
	"CONNECT a:1 HTTP/1.1\r\n":               httpProtocol,
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":       httpProtocol,
	"GET http://web.localhost/ HTTP/1.1\r\n": httpProtocol,

	"OPTIONS rtsp://localhost/a RTSP/1.0\r\n": rtspProtocol,
	"OPTIONS * RTSP/1.0\r\n":                  rtspProtocol,
	"OPTIONS rtsp://localhost/a RTSP/2.0\r\n": rtspProtocol,
	"GET rtsp://localhost/a RTSP/1.0\r\n":     rtspProtocol,
	"DESCRIBE ":                               rtspProtocol,
	"ANNOUNCE ":                               rtspProtocol,
	"SETUP ":                                  rtspProtocol,
	"PLAY ":                                   rtspProtocol,
	"PAUSE ":                                  rtspProtocol,
	"RECORD ":                                 rtspProtocol,
	"TEARDOWN ":                               rtspProtocol,
	"REDIRECT ":                               rtspProtocol,
	"GET_PARAMETER ":                          rtspProtocol,
	"SET_PARAMETER ":                          rtspProtocol,

	"\x16\x03\x01\x02\x00\x01": tlsProtocol,
	"\x05\x01\x00":             socksProtocol,
	"\x04\x01\x00\x50":         socksProtocol,

	"SSH-2.0-OpenSSH_9.2\r\n":        unknownProtocol,
	"GET /\r\n":                      unknownProtocol,
	"GET\r\n":                        unknownProtocol,
	" GET / HTTP/1.1\r\n":            unknownProtocol,
	"\r\nGET / HTTP/1.1\r\n":         unknownProtocol,
	"GET / HTTP/1.\r\n":              unknownProtocol,
	"GET / HTTP/11\r\n":              unknownProtocol,
	"GET / RTSP/1.0x\r\n":            unknownProtocol,
	"GET HTTP/1.1\r\n":               unknownProtocol,
	"GET \x00\x01\x02":               unknownProtocol,
	"$\x00\x00\x10 binary":           unknownProtocol,
	"\xff\xfe":                       unknownProtocol,
	"{\"id\":1}\n":                   unknownProtocol,
	strings.Repeat("A", maxMethod+1): unknownProtocol,

	"":                               undecided,
	"G":                              undecided,
	"OPTIONS":                        undecided,
	"OPTIONS ":                       undecided,
	"GET / HTTP/1.1":                 undecided,
	"GET / HTTP/1.1\r":               undecided,
	strings.Repeat("A", maxMethod-1): undecided,
}

func TestSniff(t *testing.T) {
	for in, want := range firstBytes {
		if got := sniff([]byte(in)); got != want {
			t.Errorf("sniff(%q) = %v, want %v", in, got, want)
		}
	}
}

// A longer beginning never changes the protocol once it is known.
func TestSniffByteByByte(t *testing.T) {
	for in, want := range firstBytes {
		got := undecided
		for n := 0; n <= len(in) && got == undecided; n++ {
			got = sniff([]byte(in[:n]))
		}
		if got != want {
			t.Errorf("byte by byte: sniff(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestSniffGivesUpOnLongLines(t *testing.T) {
	tests := map[string]protocol{
		"GET /":                httpProtocol,
		"OPTIONS rtsp://host/": rtspProtocol,
		"OPTIONS RTSP://host/": rtspProtocol,
	}
	for begin, want := range tests {
		line := append([]byte(begin), bytes.Repeat([]byte("a"), maxRequestLine)...)
		if got := sniff(line[:maxRequestLine-1]); got != undecided {
			t.Errorf("sniff(%q… %d bytes) = %v, want %v", begin, maxRequestLine-1, got, undecided)
		}
		if got := sniff(line[:maxRequestLine]); got != want {
			t.Errorf("sniff(%q… %d bytes) = %v, want %v", begin, maxRequestLine, got, want)
		}
	}
}

func FuzzSniff(f *testing.F) {
	for in := range firstBytes {
		f.Add([]byte(in), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		all := sniff(b)
		if all == undecided && len(b) >= maxRequestLine {
			t.Errorf("undecided after %d bytes", len(b))
		}
		if n < 0 || n > len(b) {
			return
		}
		if part := sniff(b[:n]); part != undecided && part != all && len(b) < maxRequestLine {
			t.Errorf("%v after %d bytes, %v after %d", part, n, all, len(b))
		}
	})
}

func TestPeekCutsSilence(t *testing.T) {
	const within = 10 * time.Second
	for _, sent := range []string{"", "GET / HT"} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			start := time.Now()
			go client.Write([]byte(sent))
			_, head, err := peek(server, start.Add(within))
			if !errors.Is(err, errSilent) || string(head) != sent {
				t.Errorf("peek() = %q, %v; want %q, %v", head, err, sent, errSilent)
			}
			if got := time.Since(start); got != within {
				t.Errorf("cut after %v, want %v", got, within)
			}
		})
	}
}

// A client that trickles does not gain time by it.
func TestPeekCutsTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		var trickle sync.WaitGroup
		trickle.Go(func() {
			for {
				if _, err := client.Write([]byte("A")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		_, head, err := peek(server, start.Add(10*time.Second))
		client.Close()
		if !errors.Is(err, errSilent) || time.Since(start) != 10*time.Second {
			t.Errorf("peek() = %q, %v after %v", head, err, time.Since(start))
		}
		trickle.Wait()
	})
}

func TestPeekTakesDeadlineOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go client.Write([]byte("GET / HTTP/1.1\r\n"))
		p, head, err := peek(server, time.Now().Add(time.Second))
		if p != httpProtocol || string(head) != "GET / HTTP/1.1\r\n" || err != nil {
			t.Fatalf("peek() = %v, %q, %v", p, head, err)
		}
		go func() {
			time.Sleep(time.Hour)
			client.Write([]byte("x"))
		}()
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// The buffer grows with the line, not beyond it.
func TestPeekLongLine(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	line := "GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\n"
	go client.Write([]byte(line))
	p, head, err := peek(server, time.Now().Add(time.Minute))
	if p != httpProtocol || string(head) != line || err != nil {
		t.Errorf("peek() = %v, %d bytes, %v", p, len(head), err)
	}
}
