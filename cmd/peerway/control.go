package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"peerway/cmd/peerway/state"
)

// maxSocketPath is the longest path that every system takes for a Unix socket.
const maxSocketPath = 100

// A control answers questions about this process on a Unix socket in its state
// folder, to the owner of the folder only.
type control struct {
	dir     *state.Dir // borrowed
	answers answers
	log     *slog.Logger
	ready   chan struct{} // closed when it answers
}

// answers are what a process can say. Its functions are safe for concurrent use.
type answers struct {
	report func() report
	peers  asker // nil: it has none
}

// An asker asks peers. Errors are for people, or of the context.
type asker interface {
	login(ctx context.Context) // tries at once, if it is not logged in, and waits for what comes of it
	ping(ctx context.Context, peer string) (pong, error)
	check(ctx context.Context, peer, service string) error
}

// newControl returns a control for the process that has locked dir. It acquires
// nothing.
func newControl(dir *state.Dir, a answers, log *slog.Logger) *control {
	return &control{dir: dir, answers: a, log: log, ready: make(chan struct{})}
}

// Run serves until ctx is done or the socket fails.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned.
func (c *control) Run(ctx context.Context) error {
	path := state.Socket(c.dir.Path())
	ln, err := listenUnix(path)
	if err != nil {
		return fmt.Errorf("open the control socket %s: %w", path, err)
	}
	defer os.Remove(path)
	defer ln.Close()
	close(c.ready)
	accepting := &spareListener{Listener: ln, log: c.log}
	defer accepting.release()

	var conns connCount
	defer conns.Wait()
	server := &http.Server{
		Handler:           c.handler(),
		ConnState:         conns.changed,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { server.Close() })()
	err = server.Serve(accepting)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("serve the control socket %s: %w", path, err)
}

// A connCount waits for the goroutines of an http.Server, which its Close does
// not do.
type connCount struct{ sync.WaitGroup }

// changed is the ConnState of the server. A connection is new in the goroutine
// of Serve, so nothing is added once Serve has returned.
func (n *connCount) changed(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		n.Add(1)
	case http.StateClosed, http.StateHijacked:
		n.Done()
	}
}

// handler returns the API. No browser may use it: a page of another origin
// cannot help sending one of the headers that are refused.
func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) {
		r := c.answers.report()
		r.Schema = 1
		r.PID = os.Getpid()
		r.Goroutines = runtime.NumGoroutine()
		r.Descriptors = openDescriptors()
		answer(w, http.StatusOK, r)
	})
	if c.answers.peers != nil {
		mux.HandleFunc("POST "+loginPath, func(w http.ResponseWriter, r *http.Request) {
			c.question(w, r, func(ctx context.Context) (any, error) {
				c.answers.peers.login(ctx)
				return struct{}{}, nil
			})
		})
		mux.HandleFunc("POST "+pingPath, func(w http.ResponseWriter, r *http.Request) {
			c.question(w, r, func(ctx context.Context) (any, error) {
				return c.answers.peers.ping(ctx, r.FormValue("peer"))
			})
		})
		mux.HandleFunc("POST "+checkPath, func(w http.ResponseWriter, r *http.Request) {
			c.question(w, r, func(ctx context.Context) (any, error) {
				return struct{}{}, c.answers.peers.check(ctx, r.FormValue("peer"), r.FormValue("service"))
			})
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Values("Origin")) > 0 || len(r.Header.Values("Referer")) > 0 {
			http.Error(w, "this API is not for browsers", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// question answers what takes its time.
func (c *control) question(w http.ResponseWriter, r *http.Request, ask func(context.Context) (any, error)) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin + 5*time.Second))
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	a, err := ask(ctx)
	if err != nil {
		answer(w, http.StatusBadGateway, newAskError(err))
		return
	}
	answer(w, http.StatusOK, a)
}

func answer(w http.ResponseWriter, status int, a any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(a)
}

// listenUnix listens on a Unix socket at path that only the owner may use. The
// caller has locked the folder, so that a socket found there is a dead one's.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		os.Remove(path)
	}
	addr, release, err := socketAddr(path)
	if err != nil {
		return nil, err
	}
	defer release()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // addr may mean nothing by then
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// socketAddr returns a name for the socket at path that is short enough for the
// system, valid until release is called.
func socketAddr(path string) (addr string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, errors.New("the path is too long for a socket: use a --state folder with a shorter name")
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	addr = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return addr, func() { dir.Close() }, nil
}
