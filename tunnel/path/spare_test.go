package path_test

import (
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

// putAside lets end 0 put the path aside or take it back, and end 1 hear of it.
func (p *pair) putAside(aside bool, sends ...int) {
	p.take(0, p.ends[0].m.SetAside(p.now, aside))
	p.run(80*time.Millisecond, sends...)
	p.take(1, p.ends[1].m.SetAside(p.now, aside))
}

// A path that was put aside carries nothing and is not given up, but for the moments in
// which the floor is silent; and it is there at once when it is wanted again.
func TestPairPutsAside(t *testing.T) {
	for _, sends := range [][]int{{0}, {1}, {0, 1}} {
		p := newPair()
		p.run(20*time.Second, sends...)
		p.resetGaps()
		p.putAside(true, sends...)
		p.run(5*time.Minute, sends...)
		p.want(t, "floor")
		for i, e := range p.ends {
			if e.switches > 3 {
				t.Errorf("sending %v: end %d switched %d times", sends, i, e.switches)
			}
		}
		p.resetGaps()
		p.mute = true
		p.run(3*time.Second, sends...)
		p.want(t, "both")
		p.mute = false
		p.run(time.Second, sends...)
		p.want(t, "floor")
		for i, e := range p.ends {
			if e.gap > time.Second {
				t.Errorf("sending %v: end %d heard nothing for %v when the floor was silent", sends, i, e.gap)
			}
		}
		p.resetGaps()
		p.putAside(false, sends...)
		p.run(time.Second, sends...)
		p.want(t, "path")
		p.dead, p.iceUp = [2]bool{true, true}, false
		p.run(3*time.Second, sends...)
		p.want(t, "floor")
		for i, e := range p.ends {
			if e.gap > time.Second {
				t.Errorf("sending %v: end %d heard nothing for %v", sends, i, e.gap)
			}
		}
	}
}

// ICE loses a path that was put aside, and finds another: nothing goes there.
func TestAsideOutlivesThePath(t *testing.T) {
	now, m := time.Unix(1e9, 0), path.New()
	m.Tick(now, path.Observation{})
	m.Up(now, peerAddr, time.Millisecond)
	m.SetAside(now, true)
	m.Down(now)
	for i, addr := range []netip.AddrPort{peerAddr, relayAddr, relayAddr} {
		v := m.Up(now, addr, time.Millisecond)
		if v.Addr.IsValid() || !v.Floor || v.InUse || v.Ask {
			t.Errorf("path %d: %+v", i, v)
		}
	}
	if v := m.SetAside(now, false); v.Addr != relayAddr || !v.Floor || !v.Ask {
		t.Errorf("taken back: %+v", v)
	}
}

// A path that was put aside and lost is not used alone when it answers before the floor.
func TestAsideIsLookedBackAt(t *testing.T) {
	now, m := time.Unix(1e9, 0), path.New()
	m.Tick(now, path.Observation{})
	m.Up(now, peerAddr, time.Millisecond)
	m.SetAside(now, true)
	m.Down(now)
	var seen path.Observation
	for range 40 { // the floor is silent too
		now = now.Add(path.Interval)
		m.Tick(now, seen)
	}
	seen.Answered = now
	for range 100 {
		now = now.Add(path.Interval)
		seen.HeardFloor, seen.Genuine = now, now
		if v := m.Tick(now, seen); !v.Floor || v.InUse {
			t.Fatalf("%+v", v)
		}
	}
}
