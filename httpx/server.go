package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"peerway/proxy"
)

// A Server forwards HTTP requests to the web servers behind peers. Its fields
// are not changed once it is in use.
type Server struct {
	Dialer proxy.Dialer  // required
	Routes *proxy.Routes // required
	Log    *slog.Logger  // nil discards

	// CameraURL says where players find a camera on this machine.
	CameraURL func(camera proxy.Target) string // required
}

// Serve serves the connections of ln until ctx is done or Accept fails, and
// closes ln. It is a [proxy.ServeFunc]. Requests in progress are cut off.
//
// When Serve returns, every connection it accepted or dialed is closed, every
// handler has returned, and the error is the cause of ctx or that of Accept.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	pages, err := parsePages()
	if err != nil {
		return fmt.Errorf("httpx: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	up := newUpstream(ctx, s.Dialer)
	defer up.close()
	var active sync.WaitGroup // connections of viewers, and requests: Server.Close waits for neither
	defer active.Wait()
	defer cancel(nil)

	srv := &http.Server{
		Handler:           counted(&active, newGateway(s.Routes, s.CameraURL, up.roundTrip, pages, log)),
		ConnState:         countConns(&active),
		ConnContext:       withViewer,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    128 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer srv.Close()
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err = srv.Serve(viewers{ln})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("httpx: %w", err)
}

// counted adds one to active while h handles a request.
func counted(active *sync.WaitGroup, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active.Add(1)
		defer active.Done()
		h.ServeHTTP(w, r)
	})
}

// countConns adds one to active while the server owns a connection. A handler
// that takes one over closes it before it returns.
func countConns(active *sync.WaitGroup) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			active.Add(1)
		case http.StateHijacked, http.StateClosed:
			active.Done()
		}
	}
}
