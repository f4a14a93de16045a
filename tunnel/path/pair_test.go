package path_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

// A pair is two machines at the ends of a connection that is simulated in steps
// of 5 ms: direct packets take 10 ms, relayed ones 40 ms.
type pair struct {
	now  time.Time
	ends [2]*end
	dead [2]bool // direct packets to the end with that index get lost
	mute bool    // relayed packets get lost
	loss float64
	rnd  *rand.Rand
	air  []packet

	iceUp     bool      // an attempt that is started now succeeds
	iceAt     time.Time // when the running attempt ends
	iceSilent time.Time // since when the selected path is dead
	lively    bool      // a path is selected
}

type end struct {
	m        *path.Machine
	d        path.Decision
	seen     path.Observation
	owesAck  bool
	gotAt    time.Time
	gap      time.Duration // the longest between two packets received
	switches int
}

type packet struct {
	to     int
	at     time.Time
	direct bool
	data   bool
}

const tickStep = 5 * time.Millisecond

func newPair() *pair {
	p := &pair{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rnd: rand.New(rand.NewPCG(1, 2)), iceUp: true}
	for i := range p.ends {
		p.ends[i] = &end{m: path.New(path.Config{}), gotAt: p.now}
	}
	return p
}

// send is what the connection of one end does with a packet.
func (p *pair) send(from int, data bool) {
	e, to := p.ends[from], 1-from
	if e.d.Direct.IsValid() {
		e.seen.SentDirect = p.now
		if !p.dead[to] && p.rnd.Float64() >= p.loss {
			p.air = append(p.air, packet{to, p.now.Add(10 * time.Millisecond), true, data})
		}
	}
	if e.d.Relay && !p.mute {
		p.air = append(p.air, packet{to, p.now.Add(40 * time.Millisecond), false, data})
	}
}

// arrive hands over what is due.
func (p *pair) arrive() {
	flying := p.air[:0]
	for _, f := range p.air {
		if p.now.Before(f.at) {
			flying = append(flying, f)
			continue
		}
		e := p.ends[f.to]
		if f.direct {
			e.seen.HeardDirect = p.now
		} else {
			e.seen.HeardRelay = p.now
		}
		e.gap = max(e.gap, p.now.Sub(e.gotAt))
		e.gotAt = p.now
		e.owesAck = e.owesAck || f.data
	}
	p.air = flying
}

// run lets the ends with data send for a while; the others acknowledge.
// While nothing comes back a sender only probes, every 200 ms.
func (p *pair) run(long time.Duration, sends ...int) {
	for until := p.now.Add(long); p.now.Before(until); p.now = p.now.Add(tickStep) {
		p.arrive()
		for _, i := range sends {
			stalled := p.now.Sub(p.ends[i].gotAt) > 200*time.Millisecond
			if !stalled || p.now.UnixMilli()%200 == 0 {
				p.send(i, true)
			}
		}
		for i, e := range p.ends {
			if e.owesAck {
				e.owesAck = false
				p.send(i, false)
			}
		}
		if p.now.UnixMilli()%100 == 0 {
			for i, e := range p.ends {
				p.take(i, e.m.Tick(p.now, e.seen))
			}
		}
		p.ice()
	}
}

func (p *pair) take(i int, d path.Decision) {
	e := p.ends[i]
	if d.Changed {
		e.switches++
	}
	e.d = d
	if d.StartAttempt && p.iceAt.IsZero() {
		p.iceAt = p.now.Add(100 * time.Millisecond)
	}
}

// ice ends attempts for both ends, and tells both of a dead path after 6 s.
func (p *pair) ice() {
	dead := p.dead[0] || p.dead[1]
	if !dead {
		p.iceSilent = p.now
	}
	if p.lively && p.now.Sub(p.iceSilent) > 6*time.Second {
		p.lively = false
		for i, e := range p.ends {
			p.take(i, e.m.DirectDown(p.now))
		}
	}
	if p.iceAt.IsZero() || p.now.Before(p.iceAt) {
		return
	}
	p.iceAt = time.Time{}
	for i, e := range p.ends {
		if p.iceUp && !dead {
			p.lively = true
			p.take(i, e.m.DirectUp(p.now, netip.MustParseAddrPort("192.0.2.1:1"), 20*time.Millisecond))
		} else {
			p.take(i, e.m.AttemptEnded(p.now))
		}
	}
}

func (p *pair) resetGaps() {
	for _, e := range p.ends {
		e.gap, e.gotAt, e.switches = 0, p.now, 0
	}
}

func (p *pair) want(t *testing.T, path string) {
	t.Helper()
	for i, e := range p.ends {
		if got := text(lasting(e.d)); got != path {
			t.Errorf("end %d: %s, want %s", i, got, path)
		}
	}
}

// lasting is d without what happened at its moment only.
func lasting(d path.Decision) path.Decision {
	d.Changed, d.StartAttempt = false, false
	return d
}

// However a direct path dies and whoever sends, both ends are off it within
// seconds and nobody waits for 2 s; when it works again, both return.
func TestPairFallsBack(t *testing.T) {
	for name, test := range map[string]struct {
		sends []int
		dead  [2]bool
	}{
		"bulk to 1, all lost":             {[]int{0}, [2]bool{true, true}},
		"bulk to 1, data lost":            {[]int{0}, [2]bool{false, true}},
		"bulk to 1, acknowledgement lost": {[]int{0}, [2]bool{true, false}},
		"bulk both ways, all lost":        {[]int{0, 1}, [2]bool{true, true}},
		"bulk both ways, one way lost":    {[]int{0, 1}, [2]bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair()
			p.run(20*time.Second, test.sends...)
			p.want(t, "direct")
			p.resetGaps()
			p.iceUp = false
			p.dead = test.dead
			p.run(5*time.Second, test.sends...)
			p.want(t, "relay")
			for i, e := range p.ends {
				if e.gap >= 2*time.Second {
					t.Errorf("end %d heard nothing for %v", i, e.gap)
				}
				if e.switches > 8 {
					t.Errorf("end %d switched %d times", i, e.switches)
				}
				t.Logf("end %d: longest silence %v, %d switches", i, e.gap, e.switches)
			}
			p.dead, p.iceUp = [2]bool{}, true
			p.run(2*time.Minute, test.sends...)
			p.want(t, "direct")
		})
	}
}

// A network that fails as a whole and comes back is found again at once, though
// ICE is not, and the relay comes back late or not at all.
func TestPairFindsBack(t *testing.T) {
	for _, away := range []time.Duration{4 * time.Second, 8 * time.Second, 14 * time.Second} {
		for _, sends := range [][]int{{0}, {1}, {0, 1}} {
			p := newPair()
			p.run(20*time.Second, sends...)
			p.want(t, "direct")
			p.iceUp, p.mute, p.dead = false, true, [2]bool{true, true}
			p.run(away, sends...)
			p.dead = [2]bool{}
			p.run(500*time.Millisecond, sends...)
			p.want(t, "direct")
			p.mute = false
			p.resetGaps()
			p.run(20*time.Second, sends...)
			p.want(t, "direct")
		}
	}
}

// Loss is not silence.
func TestPairStaysOnLossyPath(t *testing.T) {
	for _, sends := range [][]int{{0}, {0, 1}} {
		p := newPair()
		p.run(5*time.Second, sends...)
		p.loss = 0.2
		p.resetGaps()
		p.run(5*time.Minute, sends...)
		p.want(t, "direct")
		for i, e := range p.ends {
			if e.switches != 0 {
				t.Errorf("end %d switched %d times", i, e.switches)
			}
		}
	}
}

// A path that comes and goes is tried less and less often.
func TestPairFlapping(t *testing.T) {
	p := newPair()
	for range 100 { // 10 minutes
		p.dead = [2]bool{}
		p.run(3*time.Second, 0)
		p.dead = [2]bool{true, true}
		p.run(3*time.Second, 0)
	}
	for i, e := range p.ends {
		if e.switches > 40 {
			t.Errorf("end %d switched %d times", i, e.switches)
		}
		if e.gap >= 2*time.Second {
			t.Errorf("end %d heard nothing for %v", i, e.gap)
		}
		t.Logf("end %d: longest silence %v, %d switches", i, e.gap, e.switches)
	}
}

// Nobody sends: nothing changes until ICE says so.
func TestPairIdle(t *testing.T) {
	p := newPair()
	p.run(5*time.Second, 0)
	p.run(time.Minute)
	p.want(t, "direct")
	p.iceUp, p.dead = false, [2]bool{true, true}
	p.run(5 * time.Second)
	p.want(t, "direct")
	p.run(2 * time.Second)
	p.want(t, "relay")
}
