package client_test

import "testing"

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
