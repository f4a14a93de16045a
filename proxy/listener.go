package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A ServeFunc serves one protocol on the connections that ln hands out until
// ctx is done or Accept fails with [net.ErrClosed]. It owns those connections
// and returns after all of them are closed. Each embeds a *net.TCPConn. ln is
// borrowed; closing it is harmless.
type ServeFunc func(ctx context.Context, ln net.Listener) error

// A ListenerConfig configures a [Listener].
type ListenerConfig struct {
	// Addrs are HOST:PORT. An empty host and "localhost" mean both loopback
	// addresses. Port 0 takes any free one.
	Addrs []string

	HTTP, RTSP ServeFunc // nil: connections of that protocol are closed

	FirstBytes time.Duration // a client says what it speaks within this time; zero is 10 s
	MaxConns   int           // at most so many connections at a time; zero is 1000
	Log        *slog.Logger  // nil discards
}

// A Listener accepts clients on local addresses, tells by their first bytes
// whether they speak HTTP or RTSP, and gives them to the server of that
// protocol. All addresses take all protocols. Anything else is closed with a
// line in the log.
type Listener struct {
	cfg   ListenerConfig
	slots chan struct{} // one per open connection
	ready chan struct{} // closed when addrs is set
	addrs []netip.AddrPort
}

// NewListener returns a Listener for cfg. It acquires nothing.
func NewListener(cfg ListenerConfig) *Listener {
	cfg.FirstBytes = cmp.Or(cfg.FirstBytes, 10*time.Second)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 1000)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Listener{
		cfg:   cfg,
		slots: make(chan struct{}, cfg.MaxConns),
		ready: make(chan struct{}),
	}
}

// Ready is closed when every address is open. It stays open if Run fails
// before.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Addrs returns the address that was opened for each of ListenerConfig.Addrs,
// the IPv4 one where there are two. It is valid after Ready is closed.
func (l *Listener) Addrs() []netip.AddrPort { return l.addrs }

// Run accepts connections until ctx is done, an address cannot be opened or a
// ServeFunc returns. It is called once.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned. The error is the cause of ctx or the first failure.
func (l *Listener) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait() // then wait for them
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // first tell them to stop

	sockets, addrs, err := listen(l.cfg.Addrs)
	for _, ln := range sockets {
		defer closeOnDone(ctx, ln)()
	}
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	protocols := make(map[protocol]*handoff)
	serve := func(p protocol, f ServeFunc) {
		if f == nil {
			return
		}
		to := newHandoff(net.TCPAddrFromAddrPort(addrs[0]))
		protocols[p] = to
		work.Go(func() {
			defer to.Close()
			defer closeOnDone(ctx, to)()
			err := f(ctx, to)
			cancel(fmt.Errorf("proxy: serve %s: %w", p, cmp.Or(err, net.ErrClosed)))
		})
	}
	serve(httpProtocol, l.cfg.HTTP)
	serve(rtspProtocol, l.cfg.RTSP)
	for _, ln := range sockets {
		work.Go(func() { l.accept(ctx, ln, protocols) })
	}
	l.addrs = addrs
	close(l.ready)
	<-ctx.Done()
	return context.Cause(ctx)
}

// sayAgain is until it is logged again that connections cannot be accepted: where each one that
// ends makes room for another, that comes and goes.
const sayAgain = time.Minute

// accept accepts connections from ln until it is closed. It returns after every
// connection has found its server or is closed.
func (l *Listener) accept(ctx context.Context, ln net.Listener, protocols map[protocol]*handoff) {
	var clients sync.WaitGroup
	defer clients.Wait()
	var pause time.Duration
	var said time.Time
	refusing := false
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || (err != nil && ctx.Err() != nil) {
			return
		}
		if err != nil { // out of descriptors: it may pass
			if now := time.Now(); now.Sub(said) >= sayAgain {
				said = now
				l.cfg.Log.Warn("cannot accept connections", "local", ln.Addr(), "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			sleep(ctx, pause)
			continue
		}
		pause = 0
		select {
		case l.slots <- struct{}{}:
			refusing = false
		default:
			if !refusing {
				l.cfg.Log.Warn("refused connections: too many are open", "local", ln.Addr(), "remote", c.RemoteAddr())
			}
			refusing = true
			c.Close()
			continue
		}
		clients.Go(func() { l.admit(ctx, c.(*net.TCPConn), protocols) })
	}
}

// admit takes ownership of c and gives it to the server of the protocol that c
// speaks, or closes it.
func (l *Listener) admit(ctx context.Context, tcp *net.TCPConn, protocols map[protocol]*handoff) {
	c := &sniffedConn{TCPConn: tcp, closed: func() { <-l.slots }}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	p, head, err := peek(c.TCPConn, time.Now().Add(l.cfg.FirstBytes))
	if !stop() || err != nil && len(head) == 0 && !errors.Is(err, errSilent) {
		c.Close() // stopping, or a client that only looked whether the port is open
		return
	}
	to := protocols[p]
	if to == nil {
		c.Close()
		if err == nil {
			err = fmt.Errorf("%s is not served here", p)
		}
		l.cfg.Log.Info("closed a connection that is neither HTTP nor RTSP", "remote", c.RemoteAddr(), "err", err)
		return
	}
	c.head = head
	if !to.give(c) {
		c.Close()
	}
}

// errSilent reports a client that did not say in time what it speaks.
var errSilent = errors.New("no complete request in time")

// peek reads from c until its protocol is known and returns the bytes read. The
// deadline is on the whole of it, and is taken off again.
func peek(c net.Conn, deadline time.Time) (_ protocol, head []byte, err error) {
	c.SetReadDeadline(deadline)
	defer c.SetReadDeadline(time.Time{})
	head = make([]byte, 0, 1<<10)
	for {
		if len(head) == cap(head) {
			head = append(make([]byte, 0, 2*cap(head)), head...)
		}
		n, err := c.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if n > 0 {
			if p := sniff(head); p != undecided {
				return p, head, nil
			}
		}
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			return undecided, head, errSilent
		}
		if err != nil {
			return undecided, head, err
		}
	}
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
