package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"peerway/proxy"
)

// A Backend is a real server that is exposed as a service. It is safe for
// concurrent use.
type Backend interface {
	// Check reports in words what a person must put right before the server
	// can be used. It leaves nothing open.
	Check(ctx context.Context) error

	// Dial connects to the server. The caller closes the connection. Its errors
	// are words for the person at the gateway and hold no secret.
	Dial(ctx context.Context) (Upstream, error)
}

// An Upstream is a connection to a real server, for one stream.
type Upstream interface {
	// Splice joins the connection with stream until both directions have
	// ended, one failed, or ctx is done. It borrows stream.
	Splice(ctx context.Context, stream proxy.Conn) error

	// Close releases the connection. After an error of Splice the server sees
	// a reset, where it can.
	Close() error
}

// Incoming is a stream that a gateway has opened. It has, if it can, a method
// Reset(), see [proxy.Abort].
type Incoming interface {
	proxy.Conn
	Peer() string    // name or id of the peer that opened it
	Service() string // what it asks for

	// Answer tells the gateway whether the stream is accepted: CodeNone with
	// no text, or why not. It is called once, before anything is written.
	Answer(code proxy.Code, text string) error
}

// An Exporter serves streams from the services of this peer. Its fields are not
// changed once it is in use. It is safe for concurrent use.
type Exporter struct {
	Services    map[string]Backend     // by name
	Allow       func(peer string) bool // reports whether a peer may use them; nil allows none
	MaxStreams  int                    // of one peer at a time; zero is 1024
	DialTimeout time.Duration          // for the real server; zero is 10 s
	Log         *slog.Logger           // nil discards

	mu      sync.Mutex
	streams map[string]int // by peer
}

// Serve takes ownership of one stream and returns after it is closed: when both
// directions have ended, one has failed, or ctx is done. A stream that may not
// have what it asks for is answered in words.
func (e *Exporter) Serve(ctx context.Context, in Incoming) {
	defer in.Close() // last: the real connection is closed by then
	log := e.log().With("peer", in.Peer(), "service", in.Service())
	started := time.Now()
	if err := e.serve(ctx, in); err != nil {
		log.Debug("stream failed", "dur", time.Since(started), "err", err)
		return
	}
	log.Debug("stream ended", "dur", time.Since(started))
}

// serve answers in and joins it with the service it asks for.
func (e *Exporter) serve(ctx context.Context, in Incoming) error {
	backend, refused := e.admit(in)
	if refused != nil {
		return errors.Join(refused, in.Answer(refused.Code, refused.Reason))
	}
	defer e.leave(in.Peer())
	up, err := e.dial(ctx, backend)
	if outOfFiles(err) {
		return errors.Join(err, in.Answer(proxy.CodeOther, shorten(err.Error())))
	}
	if err != nil {
		return errors.Join(err, in.Answer(proxy.CodeUpstream, shorten(err.Error())))
	}
	if err := join(ctx, in, up); err != nil {
		proxy.Abort(in)
		return err
	}
	return nil
}

// join accepts in and joins it with up, of which it takes ownership.
func join(ctx context.Context, in Incoming, up Upstream) error {
	defer up.Close()
	if err := in.Answer(proxy.CodeNone, ""); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return up.Splice(ctx, in)
}

// dial connects to the backend within the dial timeout.
func (e *Exporter) dial(ctx context.Context, b Backend) (Upstream, error) {
	timeout := e.DialTimeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return b.Dial(ctx)
}

// admit decides whether in may have the service it asks for. If so, a place is
// taken, which leave gives back.
func (e *Exporter) admit(in Incoming) (Backend, *proxy.Error) {
	refuse := func(code proxy.Code, format string, args ...any) (Backend, *proxy.Error) {
		return nil, &proxy.Error{Code: code, Hop: proxy.HopPeer, Reason: fmt.Sprintf(format, args...)}
	}
	if e.Allow == nil || !e.Allow(in.Peer()) {
		return refuse(proxy.CodeNotAllowed, "this peer is not paired with you")
	}
	backend, ok := e.Services[in.Service()]
	if !ok {
		return refuse(proxy.CodeUnknownName, "the peer does not expose a service of that name")
	}
	limit := e.MaxStreams
	if limit == 0 {
		limit = 1024
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.streams[in.Peer()] >= limit {
		return refuse(proxy.CodeOther, "you have %d connections open to this peer, which is the limit", limit)
	}
	if e.streams == nil {
		e.streams = make(map[string]int)
	}
	e.streams[in.Peer()]++
	return backend, nil
}

// leave gives back the place that admit took.
func (e *Exporter) leave(peer string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.streams[peer]--; e.streams[peer] == 0 {
		delete(e.streams, peer)
	}
}

func (e *Exporter) log() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}

// shorten bounds a text that goes to the other side.
func shorten(text string) string {
	const limit = 300 // bytes
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
