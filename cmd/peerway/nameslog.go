package main

import (
	"context"
	"log/slog"

	"peerway/signal"
)

// A nameHandler is a log handler that writes peers by the names they have here:
// packages below know them by their ids only.
type nameHandler struct {
	slog.Handler
	names *book // borrowed
}

// Handle implements [slog.Handler].
func (h nameHandler) Handle(ctx context.Context, r slog.Record) error {
	named := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		named.AddAttrs(h.named(a))
		return true
	})
	return h.Handler.Handle(ctx, named)
}

// WithAttrs implements [slog.Handler].
func (h nameHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	named := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		named[i] = h.named(a)
	}
	return nameHandler{h.Handler.WithAttrs(named), h.names}
}

// WithGroup implements [slog.Handler].
func (h nameHandler) WithGroup(name string) slog.Handler {
	return nameHandler{h.Handler.WithGroup(name), h.names}
}

func (h nameHandler) named(a slog.Attr) slog.Attr {
	if id, ok := a.Value.Any().(signal.PeerID); ok {
		if name, ok := h.names.name(id); ok {
			return slog.String(a.Key, name)
		}
	}
	return a
}
