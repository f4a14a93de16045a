package main

import (
	"log/slog"
	"slices"
	"testing"

	"peerway/cmd/peerway/state"
	"peerway/signal/client"
)

// newTestNode returns a node for cfg, with a state folder of its own.
func newTestNode(t *testing.T, cfg nodeConfig) *node {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	cfg.dir, cfg.log = dir, slog.New(slog.DiscardHandler)
	n, err := newNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A gateway that opened without the signal server may get another name from it in the end.
func TestReadyIsSaidOncePerName(t *testing.T) {
	var got []string
	n := newTestNode(t, nodeConfig{name: "laptop", told: told{ready: func(name string) { got = append(got, name) }}})
	n.sayReady() // it is not
	close(n.health.tried)
	n.sayReady()
	n.opened("") // it does without the signal server
	n.sayReady()
	for _, name := range []string{"laptop", "laptop-2", "laptop-2"} {
		events{n}.Connected(client.Info{Name: name})
	}
	if want := []string{"laptop", "laptop-2"}; !slices.Equal(got, want) {
		t.Errorf("ready was said of %q, want %q", got, want)
	}
}
