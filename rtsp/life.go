package rtsp

import "time"

// A phase is a time in the life of a source.
type phase uint8

const (
	starting  phase = iota // the camera is being opened
	live                   // players watch
	lingering              // nobody watches, perhaps somebody returns
	ended                  // a new source must be made
)

// A life says whether a source is still wanted. It is pure: it is told events
// and the time. Before its beginning and after its end a source is idle, that
// is, there is none.
type life struct {
	phase   phase
	players int
	until   time.Time // end of lingering
}

// opened tells that the camera sends.
func (l *life) opened(now time.Time) {
	if l.phase == starting {
		l.phase = live
		l.rest(now)
	}
}

// asked tells that a player is interested: it gets the time to set up.
func (l *life) asked(now time.Time) {
	if l.phase == lingering {
		l.until = now.Add(lingerFor)
	}
}

// joined tells that a player has set up. It reports false if the source has
// nothing to watch.
func (l *life) joined() bool {
	if l.phase != live && l.phase != lingering {
		return false
	}
	l.players++
	l.phase = live
	return true
}

// left tells that a player who had joined is gone.
func (l *life) left(now time.Time) {
	l.players--
	l.rest(now)
}

// rest begins to linger if nobody watches.
func (l *life) rest(now time.Time) {
	if l.phase == live && l.players == 0 {
		l.phase = lingering
		l.until = now.Add(lingerFor)
	}
}

// expire ends a source that has lingered long enough and reports whether it is
// ended. If not, wait says when to ask again; zero means after the next event.
func (l *life) expire(now time.Time) (over bool, wait time.Duration) {
	switch {
	case l.phase == ended:
		return true, 0
	case l.phase != lingering:
		return false, 0
	case now.Before(l.until):
		return false, l.until.Sub(now)
	}
	l.phase = ended
	return true, 0
}

// end tells that the camera is gone.
func (l *life) end() { l.phase = ended }
