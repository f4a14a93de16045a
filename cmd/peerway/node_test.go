package main

import (
	"log/slog"
	"slices"
	"testing"

	"peerway/cmd/peerway/state"
	"peerway/signal/client"
)

// A gateway that opened without the signal server may get another name from it in the end.
func TestReadyIsSaidOncePerName(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var got []string
	n, err := newNode(nodeConfig{
		dir: dir, name: "laptop", log: slog.New(slog.DiscardHandler),
		told: told{ready: func(name string) { got = append(got, name) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.sayReady()
	for _, name := range []string{"laptop", "laptop-2", "laptop-2"} {
		events{n}.Connected(client.Info{Name: name})
	}
	if want := []string{"laptop", "laptop-2"}; !slices.Equal(got, want) {
		t.Errorf("ready was said of %q, want %q", got, want)
	}
}
