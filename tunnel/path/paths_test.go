package path_test

import (
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

var (
	peerAddr  = netip.MustParseAddrPort("192.0.2.1:1")
	relayAddr = netip.MustParseAddrPort("203.0.113.10:7443")
)

// The direct path falls on the relay, and that on the websocket.
func TestPathsFall(t *testing.T) {
	p, now := path.NewPaths(), time.Unix(1e9, 0)
	var seen path.Seen
	step := func(d path.Decision, name path.Name, direct, relay, websocket bool) {
		t.Helper()
		if d.Name != name || d.Direct.IsValid() != direct || d.Relay.IsValid() != relay || d.Websocket != websocket {
			t.Errorf("after %v: %+v, want %s, direct %v, relay %v, websocket %v", now.Sub(time.Unix(1e9, 0)), d, name, direct, relay, websocket)
		}
	}
	tick := func() path.Decision { now = now.Add(path.Interval); return p.Tick(now, seen) }
	step(tick(), path.Websocket, false, false, true)
	step(p.RelayUp(now, relayAddr, time.Millisecond), path.Websocket, false, true, true)
	now = now.Add(path.Interval)
	seen.Relay = path.PathSeen{Heard: now, Answered: now, Sent: now}
	seen.Genuine = now
	step(p.Tick(now, seen), path.UDPRelay, false, true, false)
	step(p.DirectUp(now, peerAddr, time.Millisecond), path.UDPRelay, true, true, false)
	now = now.Add(path.Interval)
	seen.Direct, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
	step(p.Tick(now, seen), path.Direct, true, false, false)
	for range 4 { // sent, and not answered
		seen.Direct.Sent = now.Add(path.Interval)
		tick()
	}
	step(tick(), path.Direct, true, true, false)
}

// Nobody is asked through a relay that is not needed.
func TestRelayIsLeftAlone(t *testing.T) {
	p, now := path.NewPaths(), time.Unix(1e9, 0)
	var seen path.Seen
	p.Tick(now, seen)
	p.RelayUp(now, relayAddr, time.Millisecond)
	now = now.Add(path.Interval)
	seen.Relay, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
	p.Tick(now, seen)
	p.DirectUp(now, peerAddr, time.Millisecond)
	now = now.Add(path.Interval)
	seen.Direct, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
	p.Tick(now, seen)
	p.RelayDown(now)
	for range 600 { // a minute
		now = now.Add(path.Interval)
		seen.Direct, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
		if d := p.Tick(now, seen); d.AskRelay || d.Name != path.Direct || d.Websocket {
			t.Fatalf("%+v", d)
		}
	}
}
