package export_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerway/proxy"
	"peerway/proxy/export"
)

// stream is an Incoming over TCP. The gateway's end of it is a *net.TCPConn.
type stream struct {
	*net.TCPConn
	peer, service string

	mu     sync.Mutex
	code   proxy.Code
	text   string
	answer chan struct{} // closed when it is answered
	reset  bool
	ended  func() // called by Close
}

func (s *stream) Peer() string    { return s.peer }
func (s *stream) Service() string { return s.service }

func (s *stream) Answer(code proxy.Code, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.text = code, text
	close(s.answer) // panics if it is answered twice
	return nil
}

func (s *stream) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = true
	s.SetLinger(0)
}

func (s *stream) Close() error {
	if s.ended != nil {
		s.ended()
	}
	return s.TCPConn.Close()
}

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(20 * time.Second)
	c.SetDeadline(late)
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// open gives e a stream and returns both its ends, and when Serve has returned.
func open(t *testing.T, ctx context.Context, e *export.Exporter, service string) (gateway *net.TCPConn, in *stream, done <-chan struct{}) {
	t.Helper()
	gateway, inner := tcpPair(t)
	in = &stream{TCPConn: inner, peer: "laptop", service: service, answer: make(chan struct{})}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.Serve(ctx, in)
	}()
	return gateway, in, closed
}

// realServer accepts one connection after the other.
func realServer(t *testing.T) (url string, conns <-chan *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *net.TCPConn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			accepted <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "http://" + ln.Addr().String(), accepted
}

func backend(t *testing.T, url string) export.Backend {
	t.Helper()
	b, _, err := export.ParseURL(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func all(string) bool { return true }

func exporter(t *testing.T, url string) *export.Exporter {
	t.Helper()
	return &export.Exporter{Services: map[string]export.Backend{"web": backend(t, url)}, Allow: all}
}

func TestServeHalfClose(t *testing.T) {
	url, conns := realServer(t)
	e := exporter(t, url)
	for _, backendFirst := range []bool{false, true} {
		gateway, in, done := open(t, t.Context(), e, "web")
		server := <-conns
		<-in.answer
		if in.code != proxy.CodeNone {
			t.Fatalf("answered %v %q", in.code, in.text)
		}
		first, second := gateway, server
		if backendFirst {
			first, second = server, gateway
		}
		io.WriteString(first, "ping")
		first.CloseWrite()
		if got, err := io.ReadAll(second); string(got) != "ping" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		io.WriteString(second, "pong")
		second.Close()
		if got, err := io.ReadAll(first); string(got) != "pong" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		<-done
		first.Close()
	}
}

func TestServePassesReset(t *testing.T) {
	url, conns := realServer(t)
	e := exporter(t, url)
	for _, serverResets := range []bool{false, true} {
		gateway, in, done := open(t, t.Context(), e, "web")
		server := <-conns
		one, other := gateway, server
		if serverResets {
			one, other = server, gateway
		}
		io.WriteString(one, "half a sen")
		if _, err := io.ReadFull(other, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		one.SetLinger(0)
		one.Close()
		<-done
		if n, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("server resets %v: the other end reads %d, %v; want a reset", serverResets, n, err)
		}
		if !in.reset {
			t.Errorf("server resets %v: the stream was not reset", serverResets)
		}
		other.Close()
	}
}

func TestServeEndsWithContext(t *testing.T) {
	url, conns := realServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	gateway, _, done := open(t, ctx, exporter(t, url), "web")
	server := <-conns
	cancel()
	<-done
	for _, c := range []*net.TCPConn{gateway, server} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is still open")
		}
		c.Close()
	}
}

// A recorder is a Backend that writes down what happens to it.
type recorder struct {
	dialed int
	events []string
	err    error
}

func (r *recorder) Check(context.Context) error { return r.err }

func (r *recorder) Dial(context.Context) (export.Upstream, error) {
	r.dialed++
	return r, r.err
}

func (r *recorder) Splice(context.Context, proxy.Conn) error { return nil }

func (r *recorder) Close() error {
	r.events = append(r.events, "real connection closed")
	return nil
}

func TestServeClosesRealConnectionFirst(t *testing.T) {
	r := new(recorder)
	_, inner := tcpPair(t)
	in := &stream{TCPConn: inner, peer: "laptop", service: "cam", answer: make(chan struct{})}
	in.ended = func() { r.events = append(r.events, "stream closed") }
	e := &export.Exporter{Services: map[string]export.Backend{"cam": r}, Allow: all}
	e.Serve(t.Context(), in)
	if got, want := strings.Join(r.events, ", "), "real connection closed, stream closed"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestServeRefuses(t *testing.T) {
	down := errors.New("the camera wants a password")
	r := new(recorder)
	services := map[string]export.Backend{"cam": r, "down": &recorder{err: down}, "full": &recorder{err: &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}}, "wordy": &recorder{err: errors.New(strings.Repeat("é", 1000))}}
	tests := map[string]struct {
		e       *export.Exporter
		service string
		code    proxy.Code
		text    string
	}{
		"nobody is allowed": {&export.Exporter{Services: services}, "cam", proxy.CodeNotAllowed, "not paired"},
		"a stranger":        {&export.Exporter{Services: services, Allow: func(string) bool { return false }}, "cam", proxy.CodeNotAllowed, "not paired"},
		"unknown service":   {&export.Exporter{Services: services, Allow: all}, "10.0.0.1:22", proxy.CodeUnknownName, "does not expose"},
		"server down":       {&export.Exporter{Services: services, Allow: all}, "down", proxy.CodeUpstream, down.Error()},
		"no files":          {&export.Exporter{Services: services, Allow: all}, "full", proxy.CodeOther, "too many open files"},
		"long text":         {&export.Exporter{Services: services, Allow: all}, "wordy", proxy.CodeUpstream, "éé…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			gateway, in, done := open(t, t.Context(), tt.e, tt.service)
			<-done
			if in.code != tt.code || !strings.Contains(in.text, tt.text) || len(in.text) > 310 {
				t.Errorf("answered %v %q, want %v %q", in.code, in.text, tt.code, tt.text)
			}
			if _, err := gateway.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the answer: %v, want the end", err)
			}
		})
	}
	if r.dialed > 0 {
		t.Error("a server was dialed for someone who may not have it")
	}
}

func TestServeLimitsStreams(t *testing.T) {
	url, conns := realServer(t)
	e := exporter(t, url)
	e.MaxStreams = 2
	var ends []func()
	for range 2 {
		gateway, in, done := open(t, t.Context(), e, "web")
		server := <-conns
		<-in.answer
		ends = append(ends, func() { gateway.Close(); server.Close(); <-done })
	}
	_, in, done := open(t, t.Context(), e, "web")
	<-done
	if in.code != proxy.CodeOther || !strings.Contains(in.text, "2 connections") {
		t.Errorf("answered %v %q", in.code, in.text)
	}
	ends[0]()
	gateway, in, done := open(t, t.Context(), e, "web")
	server := <-conns
	<-in.answer
	if in.code != proxy.CodeNone {
		t.Errorf("answered %v %q after one had ended", in.code, in.text)
	}
	gateway.Close()
	server.Close()
	<-done
	ends[1]()
}

// A dial that nobody answers ends by itself.
type blackHole struct{}

func (blackHole) Check(context.Context) error { return nil }

func (blackHole) Dial(ctx context.Context) (export.Upstream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A silent stream is an Incoming without a network.
type silent struct {
	net.Conn
	code proxy.Code
}

func (*silent) CloseWrite() error { return nil }
func (*silent) Peer() string      { return "laptop" }
func (*silent) Service() string   { return "web" }

func (s *silent) Answer(code proxy.Code, _ string) error {
	s.code = code
	return nil
}

func TestServeGivesUpDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := net.Pipe()
		in := &silent{Conn: c}
		start := time.Now()
		e := &export.Exporter{Services: map[string]export.Backend{"web": blackHole{}}, Allow: all}
		e.Serve(t.Context(), in)
		if got, want := time.Since(start), 10*time.Second; got != want || in.code != proxy.CodeUpstream {
			t.Errorf("answered %v after %v, want %v", in.code, got, want)
		}
	})
}
