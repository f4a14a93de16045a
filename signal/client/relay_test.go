package client_test

import (
	"testing"
	"time"

	"peerway/signal/server"
)

// Packets that are queued when a client ends still arrive: they may be the
// goodbyes of its tunnels.
func TestLastPacketsArrive(t *testing.T) {
	s := newServer(t)
	a, b := pairOfPeers(t, s)
	const session, packets = 7, 200
	if err := a.Bind(session, b.id()); err != nil {
		t.Fatal(err)
	}
	for range packets {
		if err := a.Relay(session, make([]byte, 1200)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Relay(session, []byte("goodbye")); err != nil {
		t.Fatal(err)
	}
	a.stop()
	for range packets {
		b.want("relayed", nil)
	}
	if e := b.want("relayed", nil); e.data != "goodbye" {
		t.Errorf("the last packet is %q, want the goodbye", e.data)
	}
}

func (p *testPeer) Spent(session uint64, left time.Duration) {
	p.events <- event{kind: "spent", session: session, left: left}
}

// TestQuota: when two peers have used up what the server relays for them in a day, both are
// told, instead of packets that vanish.
func TestQuota(t *testing.T) {
	s := newServer(t, func(cfg *server.Config) { cfg.Relay.Quota = 1 })
	a, b := pairOfPeers(t, s)
	const session = 5
	if err := a.Bind(session, b.id()); err != nil {
		t.Fatal(err)
	}
	told := func(p *testPeer) bool {
		for {
			select {
			case e := <-p.events:
				if e.kind != "spent" {
					continue
				}
				if e.session != session || e.left <= 0 || e.left > 24*time.Hour {
					t.Errorf("Spent(%d, %v)", e.session, e.left)
				}
				return true
			default:
				return false
			}
		}
	}
	packet := make([]byte, 1200)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for byA, byB := false, false; !byA || !byB; <-tick.C {
		a.Relay(session, packet)
		byA, byB = byA || told(a), byB || told(b)
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("the sender was told: %v; the other end: %v", byA, byB)
		}
	}
}
