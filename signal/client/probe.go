package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// ErrUnreachable marks that there is no connection to the server, or to the proxy before it.
var ErrUnreachable = errors.New("cannot be connected to")

// ErrNotSignal marks that what takes the connection does not speak as a signal server does.
var ErrNotSignal = errors.New("what answers there is no Peerway signal server")

// ErrSilent marks that what takes the connection says nothing, or breaks it off: it may well be
// a signal server.
var ErrSilent = errors.New("connections are taken there, but not answered")

// Probe finds out whether a signal server is at cfg.URL, and where it answers STUN; the zero
// value if that is not known. It opens a connection, waits for the challenge and closes it,
// so that only the fields for connecting are used. Where the URL has neither a pin nor is
// public, any key will do. Errors are [ErrUnreachable], [ErrSilent], [ErrNotSignal] or, if
// its key is another one, a [*RefusedError].
func Probe(ctx context.Context, cfg Config) (server, other netip.AddrPort, err error) {
	url := cfg.URL
	d := dialer{cfg: cfg, addr: url.Addr, public: url.Public, any: !url.Public && url.Pin == (signal.Pin{}),
		match: func(pin signal.Pin) bool { return pin == url.Pin }}
	conn, err := d.dial(ctx, wire.NewCodec())
	if err != nil {
		return server, other, notSignal(ctx, err)
	}
	conn.link.Close()
	return conn.server, conn.other, nil
}

// notSignal makes of an error of dial, where the address was reached and the key is not another
// one, that no signal server is there, or none that answers.
func notSignal(ctx context.Context, err error) error {
	_, refused := errors.AsType[*RefusedError](err)
	switch {
	case refused, errors.Is(err, ErrUnreachable):
		return err
	case ctx.Err() != nil, isSilence(err):
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return fmt.Errorf("%w: %w", ErrNotSignal, err)
}

// isSilence reports whether err is that of a connection on which nothing comes.
func isSilence(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, os.ErrDeadlineExceeded, context.DeadlineExceeded},
		func(of error) bool { return errors.Is(err, of) })
}

// An unreachableError is an ErrUnreachable that says why.
type unreachableError struct{ error }

func (e unreachableError) Is(target error) bool { return target == ErrUnreachable }
func (e unreachableError) Unwrap() error        { return e.error }
