package path_test

import (
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

func TestQuality(t *testing.T) {
	for _, test := range []struct {
		every   int // so many questions one is lost; 0: none
		closely bool
		asks    [2]int // in a minute
		loss    [2]float64
	}{
		{0, false, [2]int{59, 61}, [2]float64{0, 0}},
		{0, true, [2]int{590, 601}, [2]float64{0, 0}},
		{10, false, [2]int{300, 601}, [2]float64{0.05, 0.15}}, // lossy paths are asked more often
		{3, false, [2]int{500, 601}, [2]float64{0.27, 0.4}},
		{2, true, [2]int{590, 601}, [2]float64{0.45, 0.55}},
	} {
		now, q := time.Unix(1e9, 0), path.Quality{}
		var asked, got, lost uint64
		var answered time.Time
		for range 600 {
			now = now.Add(path.Interval)
			q.Answered(answered, 20*time.Millisecond, got, lost)
			if ask, _ := q.Ask(now, test.closely); !ask {
				continue
			}
			if asked++; test.every > 0 && asked%uint64(test.every) == 0 {
				lost++
			} else {
				got++
				answered = now.Add(20 * time.Millisecond)
			}
		}
		if int(asked) < test.asks[0] || int(asked) > test.asks[1] {
			t.Errorf("%+v: asked %d times", test, asked)
		}
		if q.RTT != 20*time.Millisecond {
			t.Errorf("%+v: round trip time %v, want 20ms", test, q.RTT)
		}
		if q.Loss < test.loss[0] || q.Loss > test.loss[1] {
			t.Errorf("%+v: loss %.3f", test, q.Loss)
		}
		q.Answered(now.Add(-time.Hour), time.Hour, got, lost) // older than what is known
		if q.RTT != 20*time.Millisecond {
			t.Errorf("an old answer makes the round trip time %v", q.RTT)
		}
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

// A path that is good until it is used is tried less and less often.
func TestChoiceRemembers(t *testing.T) {
	near, far := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	now, c := time.Unix(1e9, 0), path.Choice{}
	onNear, visits, last := 0, 0, netip.AddrPort{}
	minutes := func(n int) {
		for range n * 600 {
			now = now.Add(path.Interval)
			offers := []path.Offer{
				{Addr: near, Quality: path.Quality{RTT: 5 * time.Millisecond}},
				{Addr: far, Quality: path.Quality{RTT: 80 * time.Millisecond}},
			}
			if c.Chosen() == near {
				offers[0].RTT = 400 * time.Millisecond
			}
			if got := c.Choose(now, offers); got == near {
				if onNear++; last != near {
					visits++
				}
				last = got
			} else {
				last = got
			}
		}
	}
	minutes(60)
	if visits < 5 || visits > 12 || onNear > visits*40 {
		t.Errorf("an hour: %d visits to the near one, %d s there", visits, onNear/10)
	}
	visits, onNear = 0, 0
	c.Forget() // another network
	minutes(1)
	if visits == 0 {
		t.Error("what was left in another network is not tried")
	}
}

// Depart leaves a path, whatever its quality, for what else there is.
func TestChoiceDeparts(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	now, c := time.Unix(1e9, 0), path.Choice{}
	both := []path.Offer{{Addr: a}, {Addr: b, Quality: path.Quality{RTT: time.Second}}}
	if got := c.Choose(now, both); got != a {
		t.Fatalf("chose %v", got)
	}
	c.Depart(now, a)
	for d := range 18 {
		if got := c.Choose(now.Add(time.Duration(d)*time.Second), both); got != b {
			t.Fatalf("%d s after it was left: chose %v", d, got)
		}
	}
	if got := c.Choose(now, both[:1]); got != a {
		t.Error("what was left is not taken though there is nothing else")
	}
}

// Counters that begin anew say nothing.
func TestQualityOfWhatWasForgotten(t *testing.T) {
	now, q := time.Unix(1e9, 0), path.Quality{}
	for i := range uint64(100) {
		now = now.Add(time.Second)
		q.Ask(now, false)
		q.Answered(now, time.Millisecond, i, 0)
	}
	q.Answered(now.Add(time.Second), time.Millisecond, 1, 0)
	if q.Loss > 0.01 {
		t.Errorf("loss %.3f", q.Loss)
	}
}

// Two that are equally good do not keep each other from being chosen.
func TestChoiceAmongEquals(t *testing.T) {
	addr := func(i byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 1) }
	now, c := time.Unix(1e9, 0), path.Choice{}
	offers := []path.Offer{{Addr: addr(1)}, {Addr: addr(2)}, {Addr: addr(3)}}
	c.Take(addr(1))
	offers[0].RTT = 300 * time.Millisecond
	for i := range 32 {
		now = now.Add(path.Interval)
		offers[1+i%2].RTT, offers[2-i%2].RTT = 20*time.Millisecond, 25*time.Millisecond
		c.Choose(now, offers)
	}
	if c.Chosen() == addr(1) {
		t.Error("the bad one is still used")
	}
}
