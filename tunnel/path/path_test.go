package path_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

// A world is a machine and what was observed until now.
type world struct {
	m    *path.Machine
	now  time.Time
	seen path.Observation
}

func newWorld() *world {
	return &world{m: path.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (w *world) tick() path.Verdict { return w.m.Tick(w.now, w.seen) }

// An event happens at a moment, before the decision.
type event func(*world) path.Verdict

func nothing(w *world) path.Verdict { return w.tick() }
func failed(w *world) path.Verdict  { return w.m.AttemptEnded(w.now) }
func changed(w *world) path.Verdict { return w.m.NetworkChanged(w.now) }
func down(w *world) path.Verdict    { return w.m.Down(w.now) }
func up(w *world) path.Verdict {
	return w.m.Up(w.now, netip.MustParseAddrPort("192.0.2.1:1"), 20*time.Millisecond)
}
func upFar(w *world) path.Verdict {
	return w.m.Up(w.now, netip.MustParseAddrPort("192.0.2.1:1"), 300*time.Millisecond)
}
func upOther(w *world) path.Verdict {
	return w.m.Up(w.now, netip.MustParseAddrPort("192.0.2.2:2"), 20*time.Millisecond)
}

// sent, heard and heardFloor note a packet and tick.
func sent(w *world) path.Verdict { w.seen.Sent = w.now; return w.tick() }
func heard(w *world) path.Verdict {
	w.seen.Heard, w.seen.Genuine, w.seen.Answered = w.now, w.now, w.now
	return w.tick()
}
func heardFloor(w *world) path.Verdict {
	w.seen.HeardFloor, w.seen.Genuine = w.now, w.now
	return w.tick()
}
func talk(w *world) path.Verdict { w.seen.Sent = w.now; return heard(w) }

// floorSent is a peer that only the floor brings, and packets to it.
func floorSent(w *world) path.Verdict { w.seen.Sent = w.now; return heardFloor(w) }

// forged is what only looks like a packet of the peer, and packets to it.
func forged(w *world) path.Verdict { w.seen.Heard = w.now; return sent(w) }

// answered is an answer to a question and nothing else.
func answered(w *world) path.Verdict { w.seen.Answered = w.now; return w.tick() }

// doubted is a peer that does not hear us.
func doubted(w *world) path.Verdict { w.seen.Doubted = w.now; return talk(w) }

// text is a verdict in words: where packets go, then what else is said.
func text(v path.Verdict) string {
	s := "path"
	switch {
	case !v.Addr.IsValid():
		s = "floor"
	case v.Floor:
		s = "both"
	}
	if v.InUse == (s == "floor") && s != "both" {
		s += fmt.Sprint(" in use ", v.InUse)
	}
	if v.Changed {
		s += " changed"
	}
	if v.StartAttempt {
		s += " start"
	}
	return s
}

type step struct {
	after time.Duration // since the step before
	event event
	want  string
}

const ms = time.Millisecond

// direct is how most stories begin: a path that is 10 s old and in use.
func inUse(more ...step) []step {
	return append([]step{
		{0, nothing, "floor start"},
		{0, up, "both changed"},
		{100 * ms, talk, "path changed"},
		{11 * time.Second, talk, "path"},
	}, more...)
}

func transitions() map[string][]step {
	return map[string][]step{
		"relay first": {
			{0, nothing, "floor start"},
			{100 * ms, nothing, "floor"},
			{time.Second, floorSent, "floor"},
		},
		"retries": {
			{0, nothing, "floor start"},
			{0, failed, "floor"},
			{4900 * ms, nothing, "floor"},
			{100 * ms, nothing, "floor start"},
			{0, failed, "floor"},
			{15 * time.Second, nothing, "floor start"},
			{0, failed, "floor"},
			{60 * time.Second, nothing, "floor start"},
			{0, failed, "floor"},
			{119 * time.Second, nothing, "floor"},
			{time.Second, nothing, "floor start"},
			{0, failed, "floor"},
			{120 * time.Second, nothing, "floor start"},
		},
		"an attempt whose end is not told": {
			{0, nothing, "floor start"},
			{30 * time.Second, nothing, "floor"},
			{5 * time.Second, nothing, "floor start"},
		},
		"end of an attempt that was not asked for": {
			{0, nothing, "floor start"},
			{0, up, "both changed"},
			{0, failed, "both"},
			{time.Hour, nothing, "both"},
		},
		"up: on both until heard": {
			{0, nothing, "floor start"},
			{0, up, "both changed"},
			{100 * ms, sent, "both"},
			{100 * ms, heard, "path changed"},
			{time.Second, up, "path"},
		},
		"up, but packets of the connection do not pass": {
			{0, nothing, "floor start"},
			{0, up, "both changed"},
			{100 * ms, floorSent, "both"},
			{500 * ms, floorSent, "both"},
			{900 * ms, floorSent, "both"},
			{100 * ms, floorSent, "floor changed"},
			{4900 * ms, heardFloor, "floor"},
			{100 * ms, nothing, "floor start"},
			{100 * ms, up, "both changed"},
			{100 * ms, down, "floor changed"},
			{14900 * ms, heardFloor, "floor"},
			{100 * ms, nothing, "floor start"},
		},
		"idle": inUse(
			step{time.Minute, nothing, "path"},
			step{time.Hour, talk, "path"},
			step{time.Hour, down, "floor changed start"},
		),
		"last packet is not answered": inUse(
			step{10 * ms, sent, "path"},
			step{20 * ms, sent, "path"},
			step{time.Second, nothing, "path"},
			step{5 * time.Second, sent, "path"},
			step{10 * ms, heard, "path"},
			step{5 * time.Second, sent, "path"},
			step{time.Hour, nothing, "path"},
		),
		"silent while sending, answered over the relay": inUse(
			step{100 * ms, sent, "path"},
			step{100 * ms, sent, "path"},
			step{100 * ms, sent, "path"},
			step{100 * ms, sent, "both changed"},
			step{500 * ms, floorSent, "both"},
			step{500 * ms, sent, "both"},
			step{200 * ms, sent, "floor changed start"},
			step{0, failed, "floor"},
			step{5 * time.Second, heardFloor, "floor start"},
		),
		"silent while sending, nothing over the relay": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, sent, "both"},
			step{100 * ms, sent, "floor changed start"},
			step{0, failed, "floor"},
			step{1900 * ms, heard, "floor"}, // sent before the peer left it
			step{100 * ms, heardFloor, "floor"},
			step{time.Minute, sent, "floor start"},
		),
		"everything was silent, and the path is back": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "floor changed start"},
			step{0, failed, "floor"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, sent, "both"},
			step{time.Second, heard, "path changed start"},
			step{0, failed, "path"},
			step{time.Minute, talk, "path"},
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
		),
		"everything was silent, and the relay is back": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "floor changed start"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, heardFloor, "floor changed"},
			step{time.Second, heard, "floor"},
		),
		"everything was silent, and there is another path": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "floor changed start"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, upOther, "both changed"},
			step{time.Second, nothing, "both"},
			step{time.Second, heard, "path changed"},
		),
		"heard again": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, heard, "path changed"},
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, heard, "path changed"},
		),
		"heard before it was suspected": inUse(
			step{100 * ms, sent, "path"},
			step{400 * ms, sent, "both changed"},
			step{100 * ms, nothing, "both"},
		),
		"long round trip": {
			{0, nothing, "floor start"},
			{0, upFar, "both changed"},
			{100 * ms, talk, "path changed"},
			{100 * ms, sent, "path"},
			{500 * ms, sent, "path"},
			{100 * ms, sent, "both changed"},
			{500 * ms, sent, "both"},
			{50 * ms, heard, "path changed"},
		},
		"peer fell back, and we only receive": inUse(
			step{299 * ms, heardFloor, "path"},
			step{10 * ms, heardFloor, "both changed"},
			step{500 * ms, heardFloor, "both"},
			step{500 * ms, heardFloor, "both"},
			step{500 * ms, heardFloor, "floor changed start"},
		),
		"peer fell back while idle": inUse(
			step{time.Minute, heardFloor, "both changed"},
			step{time.Minute, heardFloor, "both"},
			step{100 * ms, heard, "path changed"},
		),
		"peer sends on both": inUse(
			step{100 * ms, heardFloor, "path"},
			step{0, heard, "path"},
			step{250 * ms, heardFloor, "path"},
			step{0, heard, "path"},
			step{time.Second, func(w *world) path.Verdict {
				w.seen.Heard = w.now
				return heardFloor(w)
			}, "path"},
		),
		"the peer does not hear us": inUse(
			step{100 * ms, doubted, "both changed"},
			step{200 * ms, talk, "both"},
			step{200 * ms, talk, "path changed"},
		),
		"forged packets on a dead path": inUse(
			step{100 * ms, forged, "path"},
			step{100 * ms, forged, "path"},
			step{200 * ms, forged, "both changed"},
			step{500 * ms, forged, "both"},
			step{400 * ms, forged, "floor changed start"},
		),
		"forged packets, and the path is alive": inUse(
			step{100 * ms, forged, "path"},
			step{400 * ms, forged, "both changed"},
			step{100 * ms, heard, "path changed"},
		),
		"idle, and asked": inUse(
			step{time.Minute, changed, "both changed start"},
			step{100 * ms, nothing, "both"},
			step{100 * ms, answered, "path changed"},
		),
		"idle, asked, and dead": inUse(
			step{time.Minute, changed, "both changed start"},
			step{500 * ms, nothing, "both"},
			step{400 * ms, nothing, "both"},
			step{100 * ms, nothing, "floor changed"},
		),
		"a path that dies young waits": {
			{0, nothing, "floor start"},
			{0, up, "both changed"},
			{100 * ms, talk, "path changed"},
			{9 * time.Second, down, "floor changed"},
			{5 * time.Second, heardFloor, "floor start"},
			{0, up, "both changed"},
			{100 * ms, talk, "path changed"},
			{9 * time.Second, down, "floor changed"},
			{5 * time.Second, heardFloor, "floor"},
			{10 * time.Second, nothing, "floor start"},
			{0, up, "both changed"},
			{11 * time.Second, down, "floor changed start"},
			{0, failed, "floor"},
			{5 * time.Second, heardFloor, "floor start"},
		},
		"network changed on the relay": {
			{0, nothing, "floor start"},
			{0, failed, "floor"},
			{2 * time.Second, changed, "floor start"},
			{100 * ms, changed, "floor"},
			{100 * ms, changed, "floor"},
			{700 * ms, nothing, "floor"},
			{100 * ms, nothing, "floor start"},
			{0, failed, "floor"},
			{5 * time.Second, nothing, "floor start"},
		},
		"network changed while direct": inUse(
			step{time.Second, changed, "both changed start"},
			step{100 * ms, talk, "path changed"},
			step{time.Second, failed, "path"},
			step{time.Hour, talk, "path"},
		),
		"network changed: another path": inUse(
			step{time.Second, changed, "both changed start"},
			step{100 * ms, upOther, "both changed"},
			step{100 * ms, talk, "path changed"},
		),
		"network changed: lost, the attempt goes on": inUse(
			step{time.Second, changed, "both changed start"},
			step{time.Second, down, "floor changed"},
			step{time.Second, heardFloor, "floor"},
			step{0, failed, "floor"},
			step{5 * time.Second, nothing, "floor start"},
		),
		"down without a direct path": {
			{0, nothing, "floor start"},
			{time.Second, down, "floor"},
		},
	}
}

func TestTransitions(t *testing.T) {
	for name, steps := range transitions() {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for i, s := range steps {
				w.now = w.now.Add(s.after)
				if got := text(s.event(w)); got != s.want {
					t.Fatalf("step %d: %s, want %s", i, got, s.want)
				}
			}
		})
	}
}

func BenchmarkTick(b *testing.B) {
	w := newWorld()
	w.tick()
	up(w)
	b.ReportAllocs()
	for b.Loop() {
		w.now = w.now.Add(ms)
		talk(w)
	}
}

// A path that comes and goes is soon not trusted alone any more, until it stays.
func TestComesAndGoes(t *testing.T) {
	m, now := path.New(), time.Unix(1e9, 0)
	var seen path.Observation
	m.Up(now, peerAddr, time.Millisecond)
	alone := func(d time.Duration, dead func(time.Duration) bool) (ticks int) {
		for at := time.Duration(0); at < d; at += path.Interval {
			now = now.Add(path.Interval)
			seen.Sent = now
			if !dead(at) {
				seen.Heard, seen.Answered, seen.Genuine = now, now, now
			}
			if v := m.Tick(now, seen); v.Addr.IsValid() && !v.Floor {
				ticks++
			}
		}
		return ticks
	}
	flaps := func(at time.Duration) bool { return at/(400*time.Millisecond)%2 == 1 }
	if n := alone(3*time.Second, flaps); n == 0 {
		t.Error("never trusted")
	}
	if n := alone(20*time.Second, flaps); n != 0 {
		t.Errorf("trusted alone for %v of 20s", time.Duration(n)*path.Interval)
	}
	if n := alone(20*time.Second, func(time.Duration) bool { return false }); n < 160 {
		t.Errorf("trusted alone for %v of 20s in which it stayed", time.Duration(n)*path.Interval)
	}
}

// A path on which packets are heard but long questions are not answered is in doubt, and
// lost if it goes on.
func TestOnlyShortPacketsPass(t *testing.T) {
	now, m := time.Unix(1e9, 0), path.New()
	m.Tick(now, path.Observation{})
	m.Up(now, peerAddr, 20*time.Millisecond)
	var seen path.Observation
	tick := func() path.Verdict {
		now = now.Add(path.Interval)
		seen.Heard, seen.Sent, seen.Genuine = now, now, now
		return m.Tick(now, seen)
	}
	seen.Answered = now.Add(path.Interval)
	var v path.Verdict
	for range 100 {
		v = tick()
	}
	if v.Floor || !v.InUse {
		t.Fatalf("a path that works: %+v", v)
	}
	seen.OwedAt = now
	for asked, doubted := 0, time.Duration(-1); asked < 60; asked++ {
		seen.Owed = 1 + asked/10
		v = tick()
		if v.Doubt {
			seen.Owed += 10
		}
		if v.Doubt && doubted < 0 {
			doubted = now.Sub(seen.OwedAt)
		}
		if !v.InUse {
			if doubted < 2*time.Second || doubted > 2500*time.Millisecond {
				t.Errorf("doubted after %v", doubted)
			}
			return
		}
	}
	t.Errorf("still in use: %+v", v)
}
