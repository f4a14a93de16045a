package client_test

import (
	"context"
	"testing"
	"time"
)

// TestAwait: after an outage the connection is back as soon as somebody wants it.
func TestAwait(t *testing.T) {
	s := newServer(t)
	p := newPeer(t, s.url, "home").run()
	p.want("connected", nil)
	if !p.Await(t.Context()) {
		t.Error("Await of a connection = false")
	}
	s.stop()
	p.want("disconnected", nil)
	if p.Await(t.Context()) {
		t.Error("Await of a server that is away = true")
	}
	s.start()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !p.Await(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("no connection: %+v", p.Trouble())
		}
	}
}
