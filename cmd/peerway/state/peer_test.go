package state

import (
	"reflect"
	"testing"

	"peerway/signal"
)

func FuzzPeers(f *testing.F) {
	id := signal.NewIdentity().PeerID().String()
	f.Add([]byte("# comment\n\n" + id + " home 2026-01-01T00:00:00Z\n"))
	f.Add([]byte(id + " home 2026-01-01T00:00:00+14:00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		peers, err := parsePeers("peers", content)
		if err != nil {
			return
		}
		written := formatPeers(peers)
		again, err := parsePeers("peers", written)
		if err != nil || !reflect.DeepEqual(formatPeers(again), written) {
			t.Errorf("%q became %q, %v", content, written, err)
		}
	})
}
