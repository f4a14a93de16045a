package client_test

import (
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/server"
)

// An announcement that the server had no time for is repeated.
func TestAnnounceAfterTheRateLimit(t *testing.T) {
	s := newServer(t, func(cfg *server.Config) { cfg.Heartbeat = time.Second })
	a, b := newPeer(t, s.url, "home").run(), newPeer(t, s.url, "laptop").run()
	a.want("connected", nil)
	b.want("connected", nil)
	b.Announce(nil, []signal.PeerID{a.id()})
	for range 100 { // more than the burst
		a.Announce(nil, nil)
	}
	a.Announce([]signal.Service{{Name: "cam", Scheme: "rtsp"}}, []signal.PeerID{b.id()})
	b.wantOnline(a, true)
	a.wantOnline(b, true)
}
