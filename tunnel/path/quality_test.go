package path_test

import (
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

func TestQuality(t *testing.T) {
	now := time.Unix(1e9, 0)
	var q path.Quality
	asked := 0
	for i := range 1200 { // two minutes
		now = now.Add(path.Interval)
		if !q.Ask(now) {
			continue
		}
		asked++
		if i < 600 || asked%10 != 0 { // then one in ten is lost
			q.Answered(now.Add(20*time.Millisecond), 20*time.Millisecond)
		}
	}
	if asked < 115 || asked > 121 {
		t.Errorf("asked %d times in two minutes, want about each second", asked)
	}
	if q.RTT != 20*time.Millisecond {
		t.Errorf("round trip time %v, want 20ms", q.RTT)
	}
	if q.Loss < 0.02 || q.Loss > 0.25 {
		t.Errorf("loss %.3f, want about 0.1", q.Loss)
	}
	q.Answered(now.Add(-time.Minute), time.Hour) // older than what is known
	if q.RTT != 20*time.Millisecond {
		t.Errorf("an old answer makes the round trip time %v", q.RTT)
	}
}

func TestChoice(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	offer := func(addr netip.AddrPort, ms int, loss float64) path.Offer {
		return path.Offer{Addr: addr, Quality: path.Quality{RTT: time.Duration(ms) * time.Millisecond, Loss: loss}}
	}
	for _, test := range []struct {
		name   string
		before path.Offer // chosen at first
		other  path.Offer
		after  time.Duration // until the other is chosen; 0: never
	}{
		{"equal", offer(a, 20, 0), offer(b, 20, 0), 0},
		{"less than 5 ms", offer(a, 10, 0), offer(b, 6, 0), 0},
		{"less than 15 %", offer(a, 100, 0), offer(b, 90, 0), 0},
		{"shorter", offer(a, 40, 0), offer(b, 20, 0), 3 * time.Second},
		{"fewer losses", offer(a, 20, 0.05), offer(b, 22, 0), 3 * time.Second},
		{"shorter but with losses", offer(a, 40, 0), offer(b, 20, 0.1), 0},
	} {
		now, c := time.Unix(1e9, 0), path.Choice{}
		if got := c.Choose(now, []path.Offer{test.before}); got != a {
			t.Fatalf("%s: chose %v of one", test.name, got)
		}
		var took time.Duration
		for d := time.Duration(0); d < 10*time.Second && took == 0; d += path.Interval {
			if c.Choose(now.Add(d), []path.Offer{test.other, test.before}) == b {
				took = d
			}
		}
		if took != test.after {
			t.Errorf("%s: changed after %v, want %v", test.name, took, test.after)
		}
	}
}

// What wavers is not followed, and what is gone is left at once.
func TestChoiceIsCalm(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	now, c, changes := time.Unix(1e9, 0), path.Choice{}, 0
	last := c.Choose(now, []path.Offer{{Addr: a}})
	for i := range 6000 { // ten minutes in which each is better for 2 s in turn
		now = now.Add(path.Interval)
		offers := []path.Offer{{Addr: a}, {Addr: b}}
		offers[i/20%2].RTT = 50 * time.Millisecond
		if got := c.Choose(now, offers); got != last {
			last = got
			changes++
		}
	}
	if changes != 0 {
		t.Errorf("%d changes between two that are better for 2 s in turn", changes)
	}
	if got := c.Choose(now, []path.Offer{{Addr: b, Quality: path.Quality{RTT: time.Second}}}); got != b {
		t.Errorf("stays at %v, which is gone", got)
	}
	if got := c.Choose(now, nil); got.IsValid() {
		t.Errorf("chose %v of none", got)
	}
	c.Take(a)
	if got := c.Choose(now, []path.Offer{{Addr: a}, {Addr: b}}); got != a {
		t.Errorf("left %v, which the peer has chosen", got)
	}
}
