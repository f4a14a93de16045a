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
	junk bool    // somebody sends both ends what looks like packets of the other
	loss float64
	far  time.Duration // so much longer take all
	rnd  *rand.Rand
	air  []packet

	iceUp     bool      // an attempt that is started now succeeds
	iceAt     time.Time // when the running attempt ends
	iceSilent time.Time // since when the selected path is dead
	lively    bool      // a path is selected
}

type end struct {
	m        *path.Machine
	d        path.Verdict
	seen     path.Observation
	owesAck  bool
	gotAt    time.Time
	gap      time.Duration // the longest between two packets received
	switches int
}

type packet struct {
	to               int
	at               time.Time
	direct           bool
	data             bool
	question, answer bool
	doubt            bool
}

const tickStep = 5 * time.Millisecond

func newPair() *pair {
	p := &pair{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rnd: rand.New(rand.NewPCG(1, 2)), iceUp: true}
	for i := range p.ends {
		p.ends[i] = &end{m: path.New(), gotAt: p.now}
	}
	return p
}

// send puts a packet of one end on its way.
func (p *pair) send(from int, f packet) {
	f.to = 1 - from
	lost := f.direct && (p.dead[f.to] || p.rnd.Float64() < p.loss) || !f.direct && p.mute
	if lost {
		return
	}
	f.at = p.now.Add(40*time.Millisecond + p.far)
	if f.direct {
		f.at = p.now.Add(10*time.Millisecond + p.far)
	}
	p.air = append(p.air, f)
}

// say is what the connection of one end does with a packet.
func (p *pair) say(from int, data bool) {
	e := p.ends[from]
	if e.d.Addr.IsValid() {
		e.seen.Sent = p.now
		p.send(from, packet{direct: true, data: data})
	}
	if e.d.Floor {
		e.seen.SentFloor = p.now
		p.send(from, packet{data: data})
	}
}

// arrive hands over what is due.
func (p *pair) arrive() {
	flying := p.air
	p.air = nil
	for _, f := range flying {
		if p.now.Before(f.at) {
			p.air = append(p.air, f)
			continue
		}
		e := p.ends[f.to]
		switch {
		case f.question:
			p.send(f.to, packet{direct: true, answer: true})
			if f.doubt {
				e.seen.Doubted = p.now
			}
			continue
		case f.answer:
			e.seen.Answered, e.seen.RTT = p.now, 2*(10*time.Millisecond+p.far)
			continue
		case f.direct:
			e.seen.Heard = p.now
		default:
			e.seen.HeardFloor = p.now
		}
		e.seen.Genuine = p.now
		e.gap = max(e.gap, p.now.Sub(e.gotAt))
		e.gotAt = p.now
		e.owesAck = e.owesAck || f.data
	}
}

// forge lets both ends hear what they may take for a sign of life.
func (p *pair) forge() {
	for _, e := range p.ends {
		e.seen.Heard = p.now
	}
}

// run lets the ends with data send for a while; the others acknowledge.
// While nothing comes back a sender only probes, every 200 ms.
func (p *pair) run(long time.Duration, sends ...int) {
	for until := p.now.Add(long); p.now.Before(until); p.now = p.now.Add(tickStep) {
		p.arrive()
		if p.junk && p.now.UnixMilli()%50 == 0 {
			p.forge()
		}
		for _, i := range sends {
			stalled := p.now.Sub(p.ends[i].gotAt) > 200*time.Millisecond
			if !stalled || p.now.UnixMilli()%200 == 0 {
				p.say(i, true)
			}
		}
		for i, e := range p.ends {
			if e.owesAck {
				e.owesAck = false
				p.say(i, false)
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

func (p *pair) take(i int, d path.Verdict) {
	e := p.ends[i]
	if d.Changed {
		e.switches++
	}
	e.d = d
	if d.Ask {
		p.send(i, packet{direct: true, question: true, doubt: d.Doubt})
	}
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
			p.take(i, e.m.Down(p.now))
		}
	}
	if p.iceAt.IsZero() || p.now.Before(p.iceAt) {
		return
	}
	p.iceAt = time.Time{}
	for i, e := range p.ends {
		if p.iceUp && !dead {
			p.lively = true
			p.take(i, e.m.Up(p.now, netip.MustParseAddrPort("192.0.2.1:1"), 20*time.Millisecond))
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
func lasting(d path.Verdict) path.Verdict {
	d.Changed, d.StartAttempt = false, false
	return d
}

// However a direct path dies and whoever sends, both ends are off it within
// seconds and nobody waits for 2 s; when it works again, both return.
func TestPairFallsBack(t *testing.T) {
	for name, test := range map[string]struct {
		sends []int
		dead  [2]bool
		junk  bool
	}{
		"bulk to 1, all lost":             {[]int{0}, [2]bool{true, true}, false},
		"bulk to 1, data lost":            {[]int{0}, [2]bool{false, true}, false},
		"bulk to 1, acknowledgement lost": {[]int{0}, [2]bool{true, false}, false},
		"bulk both ways, all lost":        {[]int{0, 1}, [2]bool{true, true}, false},
		"bulk both ways, one way lost":    {[]int{0, 1}, [2]bool{false, true}, false},
		"bulk to 1, all lost and forged":  {[]int{0}, [2]bool{true, true}, true},
		"bulk, one way lost and forged":   {[]int{0, 1}, [2]bool{false, true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair()
			p.run(20*time.Second, test.sends...)
			p.want(t, "path")
			p.resetGaps()
			p.iceUp = false
			p.dead, p.junk = test.dead, test.junk
			p.run(5*time.Second, test.sends...)
			p.want(t, "floor")
			for i, e := range p.ends {
				if e.gap >= 2*time.Second {
					t.Errorf("end %d heard nothing for %v", i, e.gap)
				}
				if e.switches > 8 {
					t.Errorf("end %d switched %d times", i, e.switches)
				}
				t.Logf("end %d: longest silence %v, %d switches", i, e.gap, e.switches)
			}
			p.dead, p.junk, p.iceUp = [2]bool{}, false, true
			p.run(2*time.Minute, test.sends...)
			p.want(t, "path")
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
			p.want(t, "path")
			p.iceUp, p.mute, p.dead = false, true, [2]bool{true, true}
			p.run(away, sends...)
			p.dead = [2]bool{}
			p.run(500*time.Millisecond, sends...)
			p.want(t, "path")
			p.mute = false
			p.resetGaps()
			p.run(20*time.Second, sends...)
			p.want(t, "path")
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
		p.want(t, "path")
		for i, e := range p.ends {
			if e.switches != 0 {
				t.Errorf("end %d switched %d times", i, e.switches)
			}
		}
	}
}

// A path that has become long and loses a packet now and then is not lost, though little
// is sent: what was heard last over the floor says little then.
func TestPairStaysOnLongPath(t *testing.T) {
	for seed := range uint64(20) {
		p := newPair()
		p.run(5*time.Second, 0)
		p.want(t, "path")
		p.rnd, p.loss, p.far = rand.New(rand.NewPCG(seed, 1)), 0.02, 150*time.Millisecond
		for range 60 {
			for _, sends := range []int{0, 1} {
				p.run(20*time.Millisecond, sends)
				p.run(480 * time.Millisecond)
				for i, e := range p.ends {
					if !e.d.Addr.IsValid() {
						t.Fatalf("seed %d: end %d has left the path", seed, i)
					}
				}
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
	p.want(t, "path")
	p.iceUp, p.dead = false, [2]bool{true, true}
	p.run(5 * time.Second)
	p.want(t, "path")
	p.run(2 * time.Second)
	p.want(t, "floor")
}
