package main

import (
	"errors"
	"fmt"

	"peerway/cmd/peerway/state"
	"peerway/proxy"
	"peerway/signal"
	"peerway/signal/client"
)

// The exit codes of the program. They are part of its contract.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitUnknownName = 4
	exitPeerOffline = 5
	exitNoPath      = 6
	exitUpstream    = 7
	exitNotAllowed  = 8
	exitConfig      = 9
	exitInterrupted = 130
)

// An exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

// fail returns an error that ends the program with code.
func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// exitCode returns the code with which the program ends after err.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[*proxy.Error](err); ok {
		return exitCodeOf(e.Code)
	}
	if e, ok := errors.AsType[*askError](err); ok {
		return exitCodeOfName(e.Code)
	}
	if _, ok := errors.AsType[*state.CorruptError](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*client.RefusedError](err); ok {
		return exitNotAllowed
	}
	switch {
	case errors.Is(err, signal.ErrOffline):
		return exitPeerOffline
	case errors.Is(err, signal.ErrNotAllowed):
		return exitNotAllowed
	case errors.Is(err, signal.ErrCode), errors.Is(err, signal.ErrURL):
		return exitUsage
	}
	return exitOther
}

func exitCodeOf(code proxy.Code) int {
	switch code {
	case proxy.CodeUnknownName:
		return exitUnknownName
	case proxy.CodePeerOffline:
		return exitPeerOffline
	case proxy.CodeNoPath:
		return exitNoPath
	case proxy.CodeUpstream:
		return exitUpstream
	case proxy.CodeNotAllowed:
		return exitNotAllowed
	}
	return exitOther
}
