package rtsp

import (
	"testing"
	"time"
)

func TestLife(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type step struct {
		what    string
		second  int
		phase   phase
		players int
	}
	for name, steps := range map[string][]step{
		"nobody sets up": {
			{"open", 0, lingering, 0}, {"tick", 29, lingering, 0}, {"tick", 30, ended, 0}, {"join", 31, ended, 0},
		},
		"asked again while lingering": {
			{"open", 0, lingering, 0}, {"ask", 20, lingering, 0}, {"tick", 49, lingering, 0}, {"tick", 50, ended, 0},
		},
		"two watch": {
			{"join", 0, starting, 0}, {"open", 0, lingering, 0}, {"join", 1, live, 1}, {"join", 2, live, 2}, {"leave", 3, live, 1},
			{"tick", 100, live, 1}, {"leave", 100, lingering, 0}, {"tick", 129, lingering, 0}, {"tick", 130, ended, 0},
		},
		"back while lingering": {
			{"open", 0, lingering, 0}, {"join", 1, live, 1}, {"leave", 2, lingering, 0}, {"join", 31, live, 1}, {"tick", 99, live, 1},
		},
		"camera gone": {
			{"open", 0, lingering, 0}, {"join", 1, live, 1}, {"end", 2, ended, 1}, {"join", 3, ended, 1}, {"leave", 3, ended, 0},
		},
		"camera never there": {
			{"ask", 0, starting, 0}, {"tick", 60, starting, 0}, {"end", 61, ended, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var l life
			for i, s := range steps {
				switch s.what {
				case "open":
					l.opened(at(s.second))
				case "ask":
					l.asked(at(s.second))
				case "join":
					l.joined()
				case "leave":
					l.left(at(s.second))
				case "tick":
					over, wait := l.expire(at(s.second))
					if over != (s.phase == ended) || (wait > 0) != (s.phase == lingering) {
						t.Errorf("step %d: expire returns %v, %v", i, over, wait)
					}
				case "end":
					l.end()
				}
				if l.phase != s.phase || l.players != s.players {
					t.Errorf("step %d, %s: phase %d with %d players, want %d with %d", i, s.what, l.phase, l.players, s.phase, s.players)
				}
			}
		})
	}
}
