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
