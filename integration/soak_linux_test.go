package integration_test

import (
	"context"
	"flag"
	"syscall"
	"testing"
	"time"
)

var soakCycles = flag.Int("soak", 0, "how often TestSoak opens and closes a client; 0 skips it")

// TestSoak opens and closes clients of every kind in turn, and then looks for
// what they left.
func TestSoak(t *testing.T) {
	if *soakCycles == 0 {
		t.Skip("a soak takes long: make soak")
	}
	w := newWorld(t)
	peer, gateway := w.peer.footprint(), w.gateway.footprint()
	leaves := []func() error{
		func() error { return openAndClose(w.camURL, true) },
		func() error { return openAndClose(w.camURL, false) },
		func() error { return fetch(t.Context(), here{}, w.small(), nil).err },
		func() error { // leaves in the middle of a download
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			fetch(ctx, here{}, w.large(), func(bytes int64) {
				if bytes > 1<<20 {
					leave()
				}
			})
			return nil
		},
	}
	start := time.Now()
	for i := range *soakCycles {
		if err := leaves[i%len(leaves)](); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	t.Logf("%d clients in %v", *soakCycles, time.Since(start).Round(time.Second))
	w.wantReleased(peer, gateway)
	w.gateway.stop(syscall.SIGINT)
	w.peer.stop(syscall.SIGINT)
}
