package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerway/proxy"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/tunnel"
)

// TestFailuresAreRemembered: status says why a peer could not be reached, until it was, or the
// signal server says something new, or what was in the way is over.
func TestFailuresAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, nodeConfig{})
		id, name := add(t, n.book, "home")
		fails := func(err error) { n.reach.explain(id, proxy.Target{Peer: name}, err) }
		shown := func(state, want string) {
			t.Helper()
			n.uplink.up.Store(true)
			r := n.report()
			f := r.Peers[0].Failure
			if (f == nil) != (want == "") || f != nil && !strings.Contains(f.Reason, want) || r.stateOf(r.Peers[0]) != state {
				t.Errorf("%s: %+v, want %s: %q", r.stateOf(r.Peers[0]), f, state, want)
			}
		}
		quota := func() error { return &tunnel.QuotaError{Until: time.Now().Add(time.Hour)} }

		shown("offline", "")
		fails(quota())
		time.Sleep(time.Minute)
		shown("offline", "quota for this pair is used up until ")
		if f := n.report().Peers[0].Failure; f.Age != 60 || f.Code != "no-path" || f.Fix == "" {
			t.Errorf("%+v", f)
		}
		time.Sleep(time.Hour)
		shown("offline", "")

		fails(quota())
		fails(context.Canceled)       // the viewer left
		fails(signal.ErrDisconnected) // is said of the signal server
		shown("offline", "quota")
		events{n}.Connected(client.Info{Name: "laptop"})
		shown("offline", "")

		fails(signal.ErrNotAllowed)
		shown("unpaired", "does not know this one any more")
		events{n}.Presence(signal.Presence{Peer: id, Online: true})
		shown("online", "")

		fails(tunnel.ErrNoPath)
		shown("online", "no packet gets through")
		n.reach.failures.clear(id)
		shown("online", "")
	})
}
