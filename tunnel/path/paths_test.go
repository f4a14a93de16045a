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

// A relay that comes when the direct path is in use is asked until it has answered, and
// then kept in reserve: it is not taken for lost because nothing is sent on it.
func TestRelayInReserve(t *testing.T) {
	p, now := path.NewPaths(), time.Unix(1e9, 0)
	var seen path.Seen
	p.Tick(now, seen)
	p.DirectUp(now, peerAddr, time.Millisecond)
	now = now.Add(path.Interval)
	seen.Direct, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
	p.Tick(now, seen)
	asked := 0
	d := p.RelayUp(now, relayAddr, time.Millisecond)
	for range 600 { // a minute
		if d.AskRelay {
			asked++
			if asked == 3 { // the first answers are lost
				seen.Relay.Answered = now.Add(path.Interval)
			}
		}
		now = now.Add(path.Interval)
		seen.Direct, seen.Genuine = path.PathSeen{Heard: now, Answered: now, Sent: now}, now
		if d = p.Tick(now, seen); d.LeftRelay || d.Name != path.Direct || d.Relay.IsValid() {
			t.Fatalf("%+v", d)
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times, want 3: until it has answered", asked)
	}
	p.DirectDown(now) // and then it is there at once
	if d := p.Tick(now, seen); d.Name != path.UDPRelay || d.Relay != relayAddr || d.Websocket {
		t.Errorf("without the direct path: %+v", d)
	}
}

// An attempt that the peer has asked for counts like one of our own.
func TestAttemptOfThePeer(t *testing.T) {
	p, now := path.NewPaths(), time.Unix(1e9, 0)
	p.Tick(now, path.Seen{})
	p.AttemptEnded(now) // the next one is due in 5 s
	now = now.Add(4 * time.Second)
	p.AttemptBegun(now)
	for range 120 {
		now = now.Add(path.Interval)
		if d := p.Tick(now, path.Seen{}); d.StartAttempt {
			t.Fatalf("another attempt begins %v after the peer's", now.Sub(time.Unix(1e9+4, 0)))
		}
	}
	p.AttemptEnded(now)
	for range 200 {
		now = now.Add(path.Interval)
		if d := p.Tick(now, path.Seen{}); d.StartAttempt {
			return
		}
	}
	t.Error("no further attempt")
}

// What is spare is told when it changes, though nothing is sent there.
func TestSpareIsTold(t *testing.T) {
	p, now := path.NewPaths(), time.Unix(1e9, 0)
	p.Tick(now, path.Seen{})
	p.DirectUp(now, peerAddr, time.Millisecond)
	if d := p.SetAside(now, path.Aside{Direct: true}); !d.Changed || d.SpareDirect != peerAddr {
		t.Errorf("put aside: %+v", d)
	}
	if d := p.DirectDown(now); !d.Changed || d.SpareDirect.IsValid() {
		t.Errorf("lost: %+v", d)
	}
	if d := p.DirectUp(now, relayAddr, time.Millisecond); !d.Changed || d.SpareDirect != relayAddr {
		t.Errorf("found again: %+v", d)
	}
	if d := p.DirectUnattended(now); d.SpareDirect != relayAddr || !d.StartAttempt {
		t.Errorf("lost by ICE only: %+v", d)
	}
}
