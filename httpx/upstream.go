package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peerway/proxy"
)

// An upstream sends requests to the web servers behind peers, on connections
// that it dials and keeps for a while.
type upstream struct {
	transport *http.Transport

	mu     sync.Mutex
	closed bool
	open   sync.WaitGroup // dials and connections
}

// newUpstream returns an upstream whose dials end with ctx, even those that
// net/http finishes after the request is gone.
func newUpstream(ctx context.Context, d proxy.Dialer) *upstream {
	u := new(upstream)
	u.transport = &http.Transport{
		DialContext: func(dialing context.Context, _, addr string) (net.Conn, error) {
			dialing, cancel := context.WithCancelCause(dialing)
			defer cancel(nil)
			stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
			defer stop()
			return u.dial(dialing, d, addr)
		},
		DisableCompression:     true, // what the viewer did not ask for, he does not get
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        5 * time.Second,
		ExpectContinueTimeout:  2 * time.Second, // then the server is taken to be one that never says "100 Continue"
		MaxResponseHeaderBytes: 1 << 20,
		// Large reads and writes pass these by; an idle connection keeps them.
		WriteBufferSize: 1 << 10,
		ReadBufferSize:  1 << 10,
	}
	return u
}

// dial opens a connection to the service that addr names; see hostOf.
func (u *upstream) dial(ctx context.Context, d proxy.Dialer, addr string) (net.Conn, error) {
	if !u.begin() {
		return nil, net.ErrClosed
	}
	c, err := d.DialContext(ctx, targetOf(addr), proxy.Mixed)
	if err != nil {
		u.open.Done()
		return nil, err
	}
	return &upstreamConn{Conn: c, closed: u.open.Done}, nil
}

// begin counts a dial that begins. It reports false if it is too late for one.
func (u *upstream) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.open.Add(1)
	}
	return !u.closed
}

// close closes every connection and returns when all are closed. No request may
// be in progress.
func (u *upstream) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.transport.CloseIdleConnections() // and those that become idle from now on
	u.open.Wait()
}

// roundTrip sends one request. It tells the connection which request it works
// for: if that is cancelled, the stream is reset.
func (u *upstream) roundTrip(req *http.Request) (*http.Response, error) {
	work := &request{gone: req.Context().Done()}
	var conn atomic.Pointer[upstreamConn]
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*upstreamConn); ok {
				conn.Store(c)
				c.work.Store(work)
			}
		},
		PutIdleConn: func(err error) {
			if c := conn.Load(); c != nil && err == nil {
				c.work.CompareAndSwap(work, nil) // the next one may have it already
			}
		},
	}
	res, err := u.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if c := conn.Load(); err != nil && c != nil {
		if told := c.told.Load(); told != nil { // net/http may report what followed from it
			return nil, told
		}
	}
	return res, err
}

// A request is what a connection works for.
type request struct {
	gone <-chan struct{} // closed when nobody waits for the answer any more
}

// An upstreamConn is a connection that a cancelled request resets: a plain end
// would leave the server working for nobody.
type upstreamConn struct {
	proxy.Conn
	work       atomic.Pointer[request]     // nil while idle
	told       atomic.Pointer[proxy.Error] // what Read or Write was first told of a hop that failed
	readEnded  atomic.Bool
	writeEnded atomic.Bool
	once       sync.Once
	closed     func() // called once
}

// Read implements [net.Conn].
func (c *upstreamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		c.readEnded.Store(true)
	}
	c.note(err)
	return n, err
}

// Write implements [net.Conn].
func (c *upstreamConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

// note remembers the first error for which a person can do something.
func (c *upstreamConn) note(err error) {
	if err == nil || err == io.EOF {
		return
	}
	if e, ok := errors.AsType[*proxy.Error](err); ok {
		c.told.CompareAndSwap(nil, e)
	}
}

// CloseWrite implements [proxy.Conn]. It matters to connections that have
// become something else than HTTP.
func (c *upstreamConn) CloseWrite() error {
	c.writeEnded.Store(true)
	return c.Conn.CloseWrite()
}

// Close implements [net.Conn]. It may be called again.
func (c *upstreamConn) Close() (err error) {
	c.once.Do(func() {
		if c.abandoned() {
			proxy.Abort(c.Conn)
		}
		err = c.Conn.Close()
		c.closed()
	})
	return err
}

// abandoned reports whether a request was cancelled that c still works for.
func (c *upstreamConn) abandoned() bool {
	work := c.work.Load()
	if work == nil || c.readEnded.Load() && c.writeEnded.Load() {
		return false
	}
	select {
	case <-work.gone:
		return true
	default:
		return false
	}
}

// hostOf returns the host under which net/http keeps the connections to target.
// Names have no full stops in them.
func hostOf(target proxy.Target) string { return target.Service + "." + target.Peer }

// targetOf returns the target of a host that hostOf has made, with or without
// a port.
func targetOf(addr string) proxy.Target {
	host, _, _ := strings.Cut(addr, ":")
	service, peer, _ := strings.Cut(host, ".")
	return proxy.Target{Peer: peer, Service: service}
}

// A roundTripper is a function as a [http.RoundTripper].
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
