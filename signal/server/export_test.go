package server

import (
	"context"
	"net"
)

// ServeConn serves one connection, for tests that have no network.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) { s.serve(ctx, conn, func() {}) }

// Accept serves what ln accepts, for tests in which that fails.
func (s *Server) Accept(ctx context.Context, ln net.Listener) error { return s.accept(ctx, ln) }

// Sweep sweeps until ctx is done, for tests that have no network.
func (s *Server) Sweep(ctx context.Context) { s.sweep(ctx) }
