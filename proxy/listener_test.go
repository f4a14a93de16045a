package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/proxy"
)

// echo is a ServeFunc that answers each connection with a name and then with
// its own bytes.
func echo(name string) proxy.ServeFunc {
	return func(ctx context.Context, ln net.Listener) error {
		var conns sync.WaitGroup
		defer conns.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			conns.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
				if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok {
					return
				}
				io.WriteString(c, name+"\n")
				io.Copy(c, c)
			})
		}
	}
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
	new chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.all.Write(p)
	l.mu.Unlock()
	select {
	case l.new <- struct{}{}:
	default:
	}
	return len(p), nil
}

// wait waits until a line contains part.
func (l *lines) wait(t *testing.T, part string) {
	t.Helper()
	for {
		l.mu.Lock()
		all := l.all.String()
		l.mu.Unlock()
		if strings.Contains(all, part) {
			return
		}
		select {
		case <-l.new:
		case <-time.After(10 * time.Second):
			t.Fatalf("the log does not say %q:\n%s", part, all)
		}
	}
}

// start runs a Listener and returns its first address and its log.
func start(t *testing.T, cfg proxy.ListenerConfig) (string, *lines) {
	t.Helper()
	log := &lines{new: make(chan struct{}, 1)}
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if cfg.Addrs == nil {
		cfg.Addrs = []string{"127.0.0.1:0"}
	}
	if cfg.HTTP == nil {
		cfg.HTTP, cfg.RTSP = echo("http"), echo("rtsp")
	}
	l := proxy.NewListener(cfg)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop := errors.New("stop")
	t.Cleanup(func() {
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("Run() = %v, want %v", err, stop)
		}
		for _, a := range l.Addrs() {
			if c, err := net.Dial("tcp", a.String()); err == nil {
				c.Close()
				t.Errorf("%v is still open", a)
			}
		}
	})
	select {
	case <-l.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return l.Addrs()[0].String(), log
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

func TestListenerTellsProtocolsApart(t *testing.T) {
	addr, _ := start(t, proxy.ListenerConfig{})
	tests := map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                         "http",
		"POST / HTTP/1.1\r\nHost: a\r\n\r\n":                        "http",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":                     "http",
		"OPTIONS rtsp://localhost/home/cam RTSP/1.0\r\nCSeq: 1\r\n": "rtsp",
		"DESCRIBE rtsp://localhost/home/cam RTSP/1.0\r\n":           "rtsp",
		"ANNOUNCE rtsp://localhost/home/cam RTSP/1.0\r\n":           "rtsp",
	}
	for request, want := range tests {
		for _, step := range []int{1, 7, len(request)} {
			c := dial(t, addr)
			c.SetNoDelay(true)
			for rest := request; rest != ""; {
				n := min(step, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if want := want + "\n" + request; string(got) != want || err != nil {
				t.Errorf("%d bytes at a time: got %q, %v; want %q", step, got, err, want)
			}
			c.Close()
		}
	}
}

func TestListenerRefusesOthers(t *testing.T) {
	addr, log := start(t, proxy.ListenerConfig{})
	tests := map[string]string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": "TLS is not served here",
		"\x05\x01\x00":            "SOCKS is not served here",
		"SSH-2.0-OpenSSH_9.2\r\n": "unknown protocol is not served here",
	}
	for hello, want := range tests {
		c := dial(t, addr)
		io.WriteString(c, hello)
		if got, err := io.ReadAll(c); len(got) > 0 && err == nil {
			t.Errorf("%q is answered with %q", hello, got)
		}
		log.wait(t, want)
	}
}

func TestListenerCutsSilence(t *testing.T) {
	addr, log := start(t, proxy.ListenerConfig{FirstBytes: 50 * time.Millisecond})
	c := dial(t, addr)
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("read %q, %v; want the end", got, err)
	}
	log.wait(t, "no complete request in time")
}

func TestListenerCap(t *testing.T) {
	const limit = 1000
	addr, log := start(t, proxy.ListenerConfig{})
	var conns []*net.TCPConn
	open := func() *net.TCPConn {
		c := dial(t, addr)
		io.WriteString(c, "GET / HTTP/1.1\r\n")
		return c
	}
	for range limit {
		c := open()
		conns = append(conns, c)
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "http\n" {
			t.Fatalf("connection %d: read %q, %v", len(conns), line, err)
		}
	}
	if line, err := bufio.NewReader(open()).ReadString('\n'); err == nil {
		t.Errorf("connection %d: read %q", limit+1, line)
	}
	log.wait(t, "too many are open")

	conns[0].Close() // frees a place, as soon as the server has seen it
	deadline := time.Now().Add(10 * time.Second)
	for {
		if line, _ := bufio.NewReader(open()).ReadString('\n'); line == "http\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place was freed")
		}
	}
}

func TestListenerOpensBothLoopbacks(t *testing.T) {
	addr, _ := start(t, proxy.ListenerConfig{Addrs: []string{"localhost:0", ":0"}})
	_, port, _ := net.SplitHostPort(addr)
	for _, host := range []string{"127.0.0.1", "::1"} {
		if ln, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
			t.Logf("no %s here", host)
			continue
		} else {
			ln.Close()
		}
		c := dial(t, net.JoinHostPort(host, port))
		io.WriteString(c, "PLAY rtsp://localhost/ RTSP/1.0\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "rtsp\n" {
			t.Errorf("%s: read %q, %v", host, line, err)
		}
	}
}

func TestListenerReportsBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, addrs := range [][]string{{ln.Addr().String()}, {"localhost:" + port}, {"127.0.0.1:0", ":" + port}, {"nonsense"}, {}} {
		l := proxy.NewListener(proxy.ListenerConfig{Addrs: addrs, HTTP: echo("http")})
		if err := l.Run(t.Context()); err == nil {
			t.Errorf("Run() with %q = nil", addrs)
		}
		select {
		case <-l.Ready():
			t.Errorf("ready with %q", addrs)
		default:
		}
	}
}

func TestListenerEndsWithItsServer(t *testing.T) {
	broken := errors.New("broken")
	l := proxy.NewListener(proxy.ListenerConfig{
		Addrs: []string{"127.0.0.1:0"},
		HTTP:  func(context.Context, net.Listener) error { return broken },
		RTSP:  echo("rtsp"),
	})
	if err := l.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Run() = %v, want %v", err, broken)
	}
}
