package server_test

import (
	"testing"

	"peerway/signal/internal/wire"
	"peerway/signal/relay"
	"peerway/signal/server"
)

// TestQuotaIsOfWhatIsForwarded: packets that nobody gets, since the other peer is not there or
// does not allow it, are not paid for.
func TestQuotaIsOfWhatIsForwarded(t *testing.T) {
	s, _ := start(t, server.Config{Relay: relay.Limits{Quota: 1}})
	a, b := login(t, s, "a"), login(t, s, "b")
	allow(a, b)
	a.send(wire.TypeBind, 0, wire.Bind{Session: 1, To: b.id()})
	b.send(wire.TypeAnnounce, 0, wire.Announce{})
	b.wantAlive()
	for range 1500 {
		a.write(relay.AppendFrame(nil, 1, make([]byte, 1000)))
	}
	a.wantAlive()
	allow(a, b)
	a.write(relay.AppendFrame(nil, 1, []byte("hello")))
	for {
		_, msg, err := b.ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if _, got, ok := relay.ParseFrame(msg); ok {
			if string(got) != "hello" {
				t.Errorf("b gets %d bytes", len(got))
			}
			return
		}
		if f, err := b.codec.Frame(msg); err == nil && f.Type == wire.TypeSpent {
			t.Fatal("the quota is used up")
		}
	}
}
