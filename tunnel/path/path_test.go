package path_test

import (
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
	return &world{m: path.New(path.Config{}), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (w *world) tick() path.Decision { return w.m.Tick(w.now, w.seen) }

// An event happens at a moment, before the decision.
type event func(*world) path.Decision

func nothing(w *world) path.Decision { return w.tick() }
func failed(w *world) path.Decision  { return w.m.AttemptEnded(w.now) }
func changed(w *world) path.Decision { return w.m.NetworkChanged(w.now) }
func down(w *world) path.Decision    { return w.m.DirectDown(w.now) }
func up(w *world) path.Decision {
	return w.m.DirectUp(w.now, netip.MustParseAddrPort("192.0.2.1:1"), 20*time.Millisecond)
}
func upFar(w *world) path.Decision {
	return w.m.DirectUp(w.now, netip.MustParseAddrPort("192.0.2.1:1"), 300*time.Millisecond)
}
func upOther(w *world) path.Decision {
	return w.m.DirectUp(w.now, netip.MustParseAddrPort("192.0.2.2:2"), 20*time.Millisecond)
}

// sent, heard and heardRelay note a packet and tick.
func sent(w *world) path.Decision       { w.seen.SentDirect = w.now; return w.tick() }
func heard(w *world) path.Decision      { w.seen.HeardDirect = w.now; return w.tick() }
func heardRelay(w *world) path.Decision { w.seen.HeardRelay = w.now; return w.tick() }
func talk(w *world) path.Decision {
	w.seen.HeardDirect, w.seen.SentDirect = w.now, w.now
	return w.tick()
}

// relaySent is a peer that only the relay brings, and packets to it.
func relaySent(w *world) path.Decision { w.seen.HeardRelay = w.now; return sent(w) }

// text is a decision in words: where packets go, then what else is said.
func text(d path.Decision) string {
	s := "direct"
	switch {
	case !d.Direct.IsValid():
		s = "relay"
	case d.Relay:
		s = "both"
	}
	if want := map[string]string{"relay": "relay-ws", "direct": path.Direct}[s]; want != "" && d.Path != want {
		s += " as " + d.Path
	}
	if d.Changed {
		s += " changed"
	}
	if d.StartAttempt {
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
		{0, nothing, "relay start"},
		{0, up, "both changed"},
		{100 * ms, talk, "direct changed"},
		{11 * time.Second, talk, "direct"},
	}, more...)
}

func transitions() map[string][]step {
	return map[string][]step{
		"relay first": {
			{0, nothing, "relay start"},
			{100 * ms, nothing, "relay"},
			{time.Second, relaySent, "relay"},
		},
		"retries": {
			{0, nothing, "relay start"},
			{0, failed, "relay"},
			{4900 * ms, nothing, "relay"},
			{100 * ms, nothing, "relay start"},
			{0, failed, "relay"},
			{15 * time.Second, nothing, "relay start"},
			{0, failed, "relay"},
			{60 * time.Second, nothing, "relay start"},
			{0, failed, "relay"},
			{119 * time.Second, nothing, "relay"},
			{time.Second, nothing, "relay start"},
			{0, failed, "relay"},
			{120 * time.Second, nothing, "relay start"},
		},
		"an attempt whose end is not told": {
			{0, nothing, "relay start"},
			{30 * time.Second, nothing, "relay"},
			{5 * time.Second, nothing, "relay start"},
		},
		"end of an attempt that was not asked for": {
			{0, nothing, "relay start"},
			{0, up, "both changed"},
			{0, failed, "both"},
			{time.Hour, nothing, "both"},
		},
		"up: on both until heard": {
			{0, nothing, "relay start"},
			{0, up, "both changed"},
			{100 * ms, sent, "both"},
			{100 * ms, heard, "direct changed"},
			{time.Second, up, "direct"},
		},
		"up, but packets of the connection do not pass": {
			{0, nothing, "relay start"},
			{0, up, "both changed"},
			{100 * ms, relaySent, "both"},
			{500 * ms, relaySent, "both"},
			{900 * ms, relaySent, "both"},
			{100 * ms, relaySent, "relay changed"},
			{4900 * ms, heardRelay, "relay"},
			{100 * ms, nothing, "relay start"},
			{100 * ms, up, "both changed"},
			{100 * ms, down, "relay changed"},
			{14900 * ms, heardRelay, "relay"},
			{100 * ms, nothing, "relay start"},
		},
		"idle": inUse(
			step{time.Minute, nothing, "direct"},
			step{time.Hour, talk, "direct"},
			step{time.Hour, down, "relay changed start"},
		),
		"last packet is not answered": inUse(
			step{10 * ms, sent, "direct"},
			step{20 * ms, sent, "direct"},
			step{time.Second, nothing, "direct"},
			step{5 * time.Second, sent, "direct"},
			step{10 * ms, heard, "direct"},
			step{5 * time.Second, sent, "direct"},
			step{time.Hour, nothing, "direct"},
		),
		"silent while sending, answered over the relay": inUse(
			step{100 * ms, sent, "direct"},
			step{100 * ms, sent, "direct"},
			step{100 * ms, sent, "direct"},
			step{100 * ms, sent, "both changed"},
			step{500 * ms, relaySent, "both"},
			step{500 * ms, sent, "both"},
			step{200 * ms, sent, "relay changed start"},
			step{0, failed, "relay"},
			step{5 * time.Second, heardRelay, "relay start"},
		),
		"silent while sending, nothing over the relay": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, sent, "both"},
			step{100 * ms, sent, "relay changed start"},
			step{0, failed, "relay"},
			step{1900 * ms, heard, "relay"}, // sent before the peer left it
			step{100 * ms, heardRelay, "relay"},
			step{time.Minute, sent, "relay start"},
		),
		"everything was silent, and the path is back": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "relay changed start"},
			step{0, failed, "relay"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, sent, "both"},
			step{time.Second, heard, "direct changed start"},
			step{0, failed, "direct"},
			step{time.Minute, talk, "direct"},
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
		),
		"everything was silent, and the relay is back": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "relay changed start"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, heardRelay, "relay changed"},
			step{time.Second, heard, "relay"},
		),
		"everything was silent, and there is another path": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{600 * ms, sent, "relay changed start"},
			step{2 * time.Second, nothing, "both changed"},
			step{time.Second, upOther, "both changed"},
			step{time.Second, nothing, "both"},
			step{time.Second, heard, "direct changed"},
		),
		"heard again": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, heard, "direct changed"},
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{500 * ms, heard, "direct changed"},
		),
		"heard before it was suspected": inUse(
			step{100 * ms, sent, "direct"},
			step{400 * ms, sent, "both changed"},
			step{100 * ms, nothing, "both"},
		),
		"long round trip": {
			{0, nothing, "relay start"},
			{0, upFar, "both changed"},
			{100 * ms, talk, "direct changed"},
			{100 * ms, sent, "direct"},
			{500 * ms, sent, "direct"},
			{100 * ms, sent, "both changed"},
			{500 * ms, sent, "both"},
			{50 * ms, heard, "direct changed"},
		},
		"peer fell back, and we only receive": inUse(
			step{299 * ms, heardRelay, "direct"},
			step{10 * ms, heardRelay, "both changed"},
			step{500 * ms, heardRelay, "both"},
			step{500 * ms, heardRelay, "both"},
			step{500 * ms, heardRelay, "relay changed start"},
		),
		"peer fell back while idle": inUse(
			step{time.Minute, heardRelay, "both changed"},
			step{time.Minute, heardRelay, "both"},
			step{100 * ms, heard, "direct changed"},
		),
		"peer sends on both": inUse(
			step{100 * ms, heardRelay, "direct"},
			step{0, heard, "direct"},
			step{250 * ms, heardRelay, "direct"},
			step{0, heard, "direct"},
			step{time.Second, func(w *world) path.Decision {
				w.seen.HeardDirect = w.now
				return heardRelay(w)
			}, "direct"},
		),
		"a path that dies young waits": {
			{0, nothing, "relay start"},
			{0, up, "both changed"},
			{100 * ms, talk, "direct changed"},
			{9 * time.Second, down, "relay changed"},
			{5 * time.Second, heardRelay, "relay start"},
			{0, up, "both changed"},
			{100 * ms, talk, "direct changed"},
			{9 * time.Second, down, "relay changed"},
			{5 * time.Second, heardRelay, "relay"},
			{10 * time.Second, nothing, "relay start"},
			{0, up, "both changed"},
			{11 * time.Second, down, "relay changed start"},
			{0, failed, "relay"},
			{5 * time.Second, heardRelay, "relay start"},
		},
		"network changed on the relay": {
			{0, nothing, "relay start"},
			{0, failed, "relay"},
			{2 * time.Second, changed, "relay start"},
			{100 * ms, changed, "relay"},
			{100 * ms, changed, "relay"},
			{700 * ms, nothing, "relay"},
			{100 * ms, nothing, "relay start"},
			{0, failed, "relay"},
			{5 * time.Second, nothing, "relay start"},
		},
		"network changed while direct": inUse(
			step{time.Second, changed, "both changed start"},
			step{100 * ms, talk, "direct changed"},
			step{time.Second, failed, "direct"},
			step{time.Hour, talk, "direct"},
		),
		"network changed: another path": inUse(
			step{time.Second, changed, "both changed start"},
			step{100 * ms, upOther, "both changed"},
			step{100 * ms, talk, "direct changed"},
		),
		"network changed: lost, the attempt goes on": inUse(
			step{time.Second, changed, "both changed start"},
			step{time.Second, down, "relay changed"},
			step{time.Second, heardRelay, "relay"},
			step{0, failed, "relay"},
			step{5 * time.Second, nothing, "relay start"},
		),
		"down without a direct path": {
			{0, nothing, "relay start"},
			{time.Second, down, "relay"},
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

func TestRelayName(t *testing.T) {
	if d := path.New(path.Config{Relay: "relay-udp"}).Tick(time.Now(), path.Observation{}); d.Path != "relay-udp" {
		t.Errorf("Path = %q", d.Path)
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
