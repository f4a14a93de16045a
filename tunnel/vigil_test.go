package tunnel

import (
	"errors"
	"testing"
	"time"
)

func TestVigil(t *testing.T) {
	start := time.Unix(1e9, 0)
	type step struct {
		at, sleep      time.Duration // of the timers' clock; how much further the wall's is
		heard          time.Duration
		offline, doubt bool
		ask, lost      bool
	}
	const s = time.Second
	for name, steps := range map[string][]step{
		"idle":            {{at: 1000 * s}, {at: 9000 * s}},
		"offline, silent": {{at: s, offline: true, ask: true}, {at: 11 * s, offline: true}, {at: 12 * s, offline: true, lost: true}},
		"offline, heard":  {{at: s, offline: true, ask: true}, {at: 12 * s, heard: 2 * s, offline: true}, {at: 13 * s, heard: 2 * s, offline: true, lost: true}},
		"offline for a while": {
			{at: s, offline: true, ask: true}, {at: 9 * s}, {at: 10 * s, offline: true, ask: true}, {at: 19 * s, offline: true},
		},
		"restarted":           {{at: s, doubt: true, ask: true}, {at: 3 * s, doubt: true}, {at: 4 * s, doubt: true, lost: true}},
		"not restarted":       {{at: s, doubt: true, ask: true}, {at: 3 * s, heard: 2 * s, doubt: true}, {at: 90 * s, heard: 2 * s, doubt: true}},
		"heard before doubt":  {{at: 5 * s, heard: 4 * s, doubt: true, ask: true}, {at: 8 * s, heard: 4 * s, doubt: true, lost: true}},
		"slept":               {{at: s, sleep: time.Hour, ask: true}, {at: 2 * s, sleep: time.Hour}, {at: 4 * s, sleep: time.Hour, lost: true}},
		"slept, peer there":   {{at: s, sleep: time.Hour, ask: true}, {at: 4 * s, sleep: time.Hour, heard: 2 * s}},
		"stopped process":     {{at: time.Hour}, {at: 2 * time.Hour}},
		"dozed":               {{at: s, sleep: quicIdle}, {at: 9 * s, sleep: quicIdle}},
		"wall clock set back": {{at: s, sleep: -time.Hour}, {at: 9 * s, sleep: -time.Hour}},
	} {
		v := newVigil(10*s, start, start)
		for i, step := range steps {
			now := start.Add(step.at)
			heard := time.Time{}
			if step.heard > 0 {
				heard = start.Add(step.heard)
			}
			ask, lost := v.tick(now, now.Add(step.sleep), heard, step.offline, step.doubt)
			if ask != step.ask || (lost != nil) != step.lost || lost != nil && !errors.Is(lost, ErrPeerLost) {
				t.Errorf("%s, step %d: ask %v, lost %v; want %v, %v", name, i, ask, lost, step.ask, step.lost)
			}
		}
	}
}

func TestReminder(t *testing.T) {
	start := time.Unix(1e9, 0)
	type step struct {
		at, heard time.Duration
		sent      uint64
		ask       bool
	}
	const s, ms = time.Second, time.Millisecond
	for name, steps := range map[string][]step{
		"idle":      {{at: s, heard: s, sent: 10}, {at: 900 * s, heard: s, sent: 10}},
		"answered":  {{at: s, heard: s, sent: 10}, {at: 2 * s, heard: s, sent: 20}, {at: 2500 * ms, heard: 2400 * ms, sent: 30}, {at: 9 * s, heard: 2400 * ms, sent: 30}},
		"busy":      {{at: s, heard: s, sent: 10}, {at: 2 * s, heard: 2 * s, sent: 20}, {at: 3 * s, heard: 3 * s, sent: 30}},
		"silent":    {{at: s, heard: s, sent: 10}, {at: 2 * s, heard: s, sent: 20}, {at: 2900 * ms, heard: s, sent: 20}, {at: 3 * s, heard: s, sent: 20, ask: true}, {at: 3900 * ms, heard: s, sent: 30}, {at: 4 * s, heard: s, sent: 30, ask: true}},
		"back":      {{at: s, heard: s, sent: 10}, {at: 2 * s, heard: s, sent: 20}, {at: 3 * s, heard: s, sent: 20, ask: true}, {at: 3100 * ms, heard: 3050 * ms, sent: 30, ask: true}, {at: 3200 * ms, heard: 3150 * ms, sent: 40}, {at: 9 * s, heard: 3150 * ms, sent: 40}},
		"no answer": {{at: s, sent: 10}, {at: 2 * s, sent: 10, ask: true}},
	} {
		var r reminder
		for i, step := range steps {
			heard := time.Time{}
			if step.heard > 0 {
				heard = start.Add(step.heard)
			}
			if ask := r.tick(start.Add(step.at), heard, step.sent, 20*ms); ask != step.ask {
				t.Errorf("%s, step %d: ask %v, want %v", name, i, ask, step.ask)
			}
		}
	}
}
