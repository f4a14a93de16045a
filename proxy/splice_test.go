package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"peerway/proxy"
)

// splice joins a client and a server over two TCP connections. It returns their
// ends, and what Splice returns.
func splice(t *testing.T, ctx context.Context) (client, server *net.TCPConn, done <-chan error) {
	t.Helper()
	client, a := tcpPair(t)
	b, server := tcpPair(t)
	result := make(chan error, 1)
	go func() {
		err := proxy.Splice(ctx, a, b)
		if err != nil {
			proxy.Abort(a)
			proxy.Abort(b)
		}
		a.Close()
		b.Close()
		result <- err
	}()
	late := time.Now().Add(20 * time.Second)
	client.SetDeadline(late)
	server.SetDeadline(late)
	return client, server, result
}

// say writes text and ends the direction.
func say(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
}

// hear reads to the end and compares.
func hear(t *testing.T, c *net.TCPConn, want string) {
	t.Helper()
	if got, err := io.ReadAll(c); string(got) != want || err != nil {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
}

func TestSpliceHalfClose(t *testing.T) {
	orders := map[string]func(client, server *net.TCPConn){
		"client first": func(client, server *net.TCPConn) {
			say(t, client, "ping")
			hear(t, server, "ping")
			say(t, server, "pong")
			hear(t, client, "pong")
		},
		"server first": func(client, server *net.TCPConn) {
			say(t, server, "pong")
			hear(t, client, "pong")
			say(t, client, "ping")
			hear(t, server, "ping")
		},
		"both at once": func(client, server *net.TCPConn) {
			var both sync.WaitGroup
			both.Go(func() { say(t, client, "ping"); hear(t, client, "pong") })
			both.Go(func() { say(t, server, "pong"); hear(t, server, "ping") })
			both.Wait()
		},
	}
	for name, talk := range orders {
		t.Run(name, func(t *testing.T) {
			client, server, done := splice(t, t.Context())
			talk(client, server)
			if err := <-done; err != nil {
				t.Errorf("Splice() = %v", err)
			}
		})
	}
}

func TestSpliceStopsOnCancel(t *testing.T) {
	stop := errors.New("stop")
	t.Run("idle", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, _, done := splice(t, ctx)
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("Splice() = %v, want %v", err, stop)
		}
	})
	t.Run("blocked in Write", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		client, _, done := splice(t, ctx)
		client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		io.Copy(client, endless{}) // nobody reads: until every buffer is full
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("Splice() = %v, want %v", err, stop)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestSplicePassesReset(t *testing.T) {
	ends := map[string]bool{"client": true, "server": false}
	for name, clientResets := range ends {
		t.Run(name, func(t *testing.T) {
			client, server, done := splice(t, t.Context())
			one, other := client, server
			if !clientResets {
				one, other = server, client
			}
			io.WriteString(one, "half a sen")
			if _, err := io.ReadFull(other, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			one.SetLinger(0)
			one.Close()
			if err := <-done; err == nil {
				t.Error("Splice() = nil")
			}
			if n, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end reads %d, %v; want a reset", n, err)
			}
		})
	}
}

// broken is a Conn that fails in one direction and blocks in the other.
type broken struct {
	net.Conn
	read, write error
	past        chan struct{} // closed by a deadline
	once        sync.Once
}

func (b *broken) Read(p []byte) (int, error)  { return b.fail(b.read) }
func (b *broken) Write(p []byte) (int, error) { return b.fail(b.write) }
func (b *broken) CloseWrite() error           { return nil }

func (b *broken) fail(err error) (int, error) {
	if err == nil {
		<-b.past
		err = errors.New("deadline")
	}
	return 0, err
}

func (b *broken) SetDeadline(time.Time) error {
	b.once.Do(func() { close(b.past) })
	return nil
}

func TestSpliceErrorEndsBothDirections(t *testing.T) {
	fault := errors.New("fault")
	for range 1000 {
		a := &broken{read: fault, past: make(chan struct{})}
		b := &broken{past: make(chan struct{})}
		if err := proxy.Splice(t.Context(), a, b); !errors.Is(err, fault) {
			t.Fatalf("Splice() = %v, want %v", err, fault)
		}
		<-a.past
		<-b.past
	}
}

// Every size of buffer is used on the way, and nothing is lost at the changes.
func TestSpliceKeepsBytes(t *testing.T) {
	client, server, done := splice(t, t.Context())
	var want, got [sha256.Size]byte
	var both sync.WaitGroup
	both.Go(func() {
		h := sha256.New()
		chunk := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		for i := range 40 {
			for _, n := range []int{1, 100, 4 << 10, 4<<10 + 1, 32 << 10, 300 << 10, len(chunk) - i} {
				h.Write(chunk[i:][:min(n, len(chunk)-i)])
				if _, err := client.Write(chunk[i:][:min(n, len(chunk)-i)]); err != nil {
					t.Error(err)
				}
			}
		}
		client.CloseWrite()
		h.Sum(want[:0])
	})
	both.Go(func() {
		h := sha256.New()
		if _, err := io.Copy(h, server); err != nil {
			t.Error(err)
		}
		server.CloseWrite()
		h.Sum(got[:0])
	})
	both.Wait()
	if got != want {
		t.Error("the bytes changed on the way")
	}
	if err := <-done; err != nil {
		t.Errorf("Splice() = %v", err)
	}
}

// pipeConn moves bytes within the process, so that a benchmark counts only the
// allocations of Splice.
type pipeConn struct {
	net.Conn
	left int64
}

func (c *pipeConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), c.left)
	c.left -= n
	return int(n), nil
}
func (c *pipeConn) Write(p []byte) (int, error)   { return len(p), nil }
func (c *pipeConn) CloseWrite() error             { return nil }
func (c *pipeConn) SetDeadline(t time.Time) error { return nil }

func BenchmarkSpliceAllocs(b *testing.B) {
	b.ReportAllocs()
	var s proxy.Splicer
	const size = 1 << 30
	b.SetBytes(size)
	for b.Loop() {
		if err := s.Splice(b.Context(), &pipeConn{left: size}, &pipeConn{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopy moves 1 GB through a joint of two TCP connections on loopback.
// "kernel" is io.Copy on two TCP connections, which never enter the process;
// "io.Copy" is what io.Copy does for any other connection, as a tunnel's is.
func BenchmarkCopy(b *testing.B) {
	joints := map[string]func(a, b proxy.Conn){
		"Splice":  func(x, y proxy.Conn) { proxy.Splice(context.Background(), x, y) },
		"io.Copy": func(x, y proxy.Conn) { both(x, y, func(c proxy.Conn) proxy.Conn { return plain{c} }) },
		"kernel":  func(x, y proxy.Conn) { both(x, y, func(c proxy.Conn) proxy.Conn { return c }) },
	}
	for _, name := range []string{"Splice", "io.Copy", "kernel"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			const size = 1 << 30
			b.SetBytes(size)
			for b.Loop() {
				client, x := tcpPair(b)
				y, server := tcpPair(b)
				var work sync.WaitGroup
				work.Go(func() { joints[name](x, y) })
				work.Go(func() {
					chunk := make([]byte, 256<<10)
					for range size / len(chunk) {
						client.Write(chunk)
					}
					client.CloseWrite()
				})
				buf := make([]byte, 256<<10)
				var total int
				for {
					n, err := server.Read(buf)
					total += n
					if err != nil {
						break
					}
				}
				server.Close()
				work.Wait()
				client.Close()
				x.Close()
				y.Close()
				if total != size {
					b.Fatalf("%d bytes arrived", total)
				}
			}
		})
	}
}

// plain hides what only TCP connections can do.
type plain struct{ c proxy.Conn }

func (p plain) Read(b []byte) (int, error)         { return p.c.Read(b) }
func (p plain) Write(b []byte) (int, error)        { return p.c.Write(b) }
func (p plain) CloseWrite() error                  { return p.c.CloseWrite() }
func (p plain) Close() error                       { return p.c.Close() }
func (p plain) LocalAddr() net.Addr                { return p.c.LocalAddr() }
func (p plain) RemoteAddr() net.Addr               { return p.c.RemoteAddr() }
func (p plain) SetDeadline(t time.Time) error      { return p.c.SetDeadline(t) }
func (p plain) SetReadDeadline(t time.Time) error  { return p.c.SetReadDeadline(t) }
func (p plain) SetWriteDeadline(t time.Time) error { return p.c.SetWriteDeadline(t) }

// both copies in both directions with io.Copy.
func both(x, y proxy.Conn, as func(proxy.Conn) proxy.Conn) {
	var work sync.WaitGroup
	work.Go(func() { io.Copy(as(x), as(y)); x.CloseWrite() })
	work.Go(func() { io.Copy(as(y), as(x)); y.CloseWrite() })
	work.Wait()
}
