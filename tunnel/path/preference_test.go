package path_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"peerway/tunnel/path"
)

// A measured is a path that is asked, and answers with some loss after some time.
type measured struct {
	rtt       time.Duration
	loss      float64
	quality   path.Quality
	got, lost uint64
	at        time.Time
}

func (m *measured) ask(now time.Time, rnd *rand.Rand, closely bool) {
	if m.rtt == 0 {
		return // it is not there
	}
	m.quality.Answered(m.at, m.rtt, m.got, m.lost)
	if ask, _ := m.quality.Ask(now, closely); !ask {
		return
	}
	if rnd.Float64() < m.loss {
		m.lost++
	} else {
		m.got, m.at = m.got+1, now
	}
}

// compared runs a Preference as a tunnel does, for so many minutes, and returns how often
// the paths that are put aside change, what is put aside in the end, and for which part of
// the time the direct path is.
func compared(seed uint64, direct, relay, websocket measured, minutes int) (changes int, last path.Aside, share float64) {
	rnd, now := rand.New(rand.NewPCG(seed, 1)), time.Unix(1e9, 0)
	var p path.Preference
	var directAddr, relayedBy netip.AddrPort
	if direct.rtt > 0 {
		directAddr = peerAddr
	}
	if relay.rtt > 0 {
		relayedBy = relayAddr
	}
	aside := 0
	for range minutes * 600 {
		now = now.Add(path.Interval)
		closely := last.Direct || direct.quality.Doubtful()
		if directAddr.IsValid() {
			direct.ask(now, rnd, last.Direct)
		}
		if last.Direct || !directAddr.IsValid() || direct.quality.Poor() {
			relay.ask(now, rnd, closely || last.Relay)
			websocket.ask(now, rnd, closely || relay.quality.Doubtful())
		}
		was := last
		last = p.Look(now, path.Offer{Addr: directAddr, Quality: direct.quality}, path.Offer{Addr: relayedBy, Quality: relay.quality}, websocket.quality)
		if last != was {
			changes++
		}
		if last.Direct {
			aside++
		}
	}
	return changes, last, float64(aside) / float64(minutes*600)
}

func is(rtt time.Duration, loss float64) measured { return measured{rtt: rtt, loss: loss} }

// A direct path is put aside for what is clearly better although it costs others something,
// and for nothing less; and hardly anything changes after the first minutes.
func TestPreference(t *testing.T) {
	const ms = time.Millisecond
	none := measured{}
	for _, test := range []struct {
		name                     string
		direct, relay, websocket measured
		want                     path.Aside
	}{
		{"all well", is(20*ms, 0), is(40*ms, 0), is(40*ms, 0), path.Aside{}},
		{"relay faster", is(250*ms, 0), is(40*ms, 0), is(40*ms, 0), path.Aside{}},
		{"wireless", is(20*ms, 0.1), is(40*ms, 0), is(40*ms, 0), path.Aside{}},
		{"direct loses two of five", is(20*ms, 0.4), is(40*ms, 0), is(40*ms, 0), path.Aside{Direct: true}},
		{"direct loses half, the relay is far", is(20*ms, 0.5), is(200*ms, 0.01), is(200*ms, 0), path.Aside{Direct: true}},
		{"all lose a third", is(20*ms, 0.33), is(40*ms, 0.33), is(250*ms, 0), path.Aside{}},
		{"all lose a fifth", is(20*ms, 0.2), is(40*ms, 0.2), is(150*ms, 0), path.Aside{}},
		{"websocket only", is(20*ms, 0.65), none, is(40*ms, 0), path.Aside{Direct: true}},
		{"websocket only, a third is lost", is(20*ms, 0.33), none, is(40*ms, 0), path.Aside{}},
		{"nothing known below", is(20*ms, 0.6), none, none, path.Aside{}},
		{"UDP is throttled", is(20*ms, 0.65), is(20*ms, 0.65), is(60*ms, 0), path.Aside{Direct: true, Relay: true}},
		{"relay is throttled", none, is(20*ms, 0.5), is(60*ms, 0), path.Aside{Relay: true}},
		{"round the world", is(600*ms, 0), is(40*ms, 0), is(40*ms, 0), path.Aside{Direct: true}},
	} {
		for seed := range uint64(20) {
			changes, got, _ := compared(seed, test.direct, test.relay, test.websocket, 10)
			if got != test.want || changes > 2 {
				t.Errorf("%s, seed %d: %+v after %d changes, want %+v", test.name, seed, got, changes, test.want)
			}
		}
	}
}

// Loss on the line that all paths share makes nothing change, and loss of the direct path
// about the limit little.
func TestPreferenceIsCalm(t *testing.T) {
	const ms, minutes = time.Millisecond, 60
	for _, loss := range []float64{0.1, 0.2, 0.3, 0.36} {
		all, own, part := 0, 0, 0.0
		for seed := range uint64(10) {
			n, _, share := compared(seed, is(20*ms, loss), is(30*ms, loss), is(200*ms, 0), minutes)
			all, part = all+n, part+share
			n, _, _ = compared(seed, is(20*ms, loss), is(30*ms, 0), is(40*ms, 0), minutes)
			own += n
		}
		t.Logf("loss %.2f: shared, %.1f changes an hour, aside %.3f of it; of the direct path %.1f changes an hour", loss, float64(all)/10, part/10, float64(own)/10)
		if all > 20 || own > 30 {
			t.Errorf("loss %.2f: %d changes in ten hours when it is shared, %d when it is the direct path's", loss, all, own)
		}
	}
}

// A relay that was just found is put aside at once if its round trip is clearly longer than
// the websocket's, and taken back when more is known and it is not so.
func TestPreferenceMeets(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name             string
		relay, websocket time.Duration
		want             bool
	}{
		{"far", 800 * ms, 1 * ms, true},
		{"no nearer than the websocket", 800 * ms, 400 * ms, false},
		{"near", 20 * ms, 60 * ms, false},
		{"worse, but not TCP", 400 * ms, 1 * ms, false},
		{"not compared", 800 * ms, 0, false},
	} {
		rnd, now := rand.New(rand.NewPCG(1, 1)), time.Unix(1e9, 0)
		relay, websocket := is(test.relay, 0), is(test.websocket, 0)
		relay.quality.Answered(now, relay.rtt, 1, 0)
		if websocket.rtt > 0 {
			websocket.quality.Answered(now, websocket.rtt, 1, 0)
		}
		var p path.Preference
		offer := func() path.Offer { return path.Offer{Addr: relayAddr, Quality: relay.quality} }
		if got := p.Meet(now, offer(), websocket.quality); got != test.want {
			t.Errorf("%s: put aside at once: %v, want %v", test.name, got, test.want)
		}
		if !test.want {
			continue
		}
		look := func(d time.Duration) (aside bool) {
			for end := now.Add(d); now.Before(end); now = now.Add(path.Interval) {
				relay.ask(now, rnd, true)
				websocket.ask(now, rnd, true)
				aside = p.Look(now, path.Offer{}, offer(), websocket.quality).Relay
			}
			return aside
		}
		if !look(time.Minute) || !p.Meet(now, offer(), websocket.quality) {
			t.Errorf("%s: taken back", test.name)
		}
		relay.rtt = 20 * ms
		if look(20 * time.Second) {
			t.Errorf("%s: not taken back though it is near now", test.name)
		}
	}
}
