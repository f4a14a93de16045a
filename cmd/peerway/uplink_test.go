package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal/client"
)

// The server with another key may be one of this network only: in the next one, it is looked
// for at once.
func TestRestUntilTheNetworkChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUplink(client.Config{}, false, true)
		rests := func(ctx context.Context) time.Duration {
			began := time.Now()
			u.rest(ctx)
			return time.Since(began)
		}
		if got := rests(t.Context()); got != wrongPinPause {
			t.Errorf("it rests for %v, want %v", got, wrongPinPause)
		}
		time.AfterFunc(time.Second, u.NetworkChanged)
		if got := rests(t.Context()); got != time.Second {
			t.Errorf("it rests for %v, want until the network changes", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := rests(ctx); got != time.Second {
			t.Errorf("it rests for %v, want until it shall end", got)
		}
	})
}
