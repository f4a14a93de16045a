package lane

import (
	"slices"
	"time"
)

// What the schedule keeps to while a dedicated lane is active.
const (
	// minChunk is three packets: the most that a dedicated lane finds in front
	// of it on a slow path.
	minChunk = 4 << 10
	maxChunk = 64 << 10
	// dedicatedChunk is what a dedicated lane writes at once: how it gets on shows
	// when it has.
	dedicatedChunk = 32 << 10
	// chunkTakes is how long the tunnel should take for one chunk of a mixed lane,
	// between minChunk and maxChunk.
	chunkTakes = 3 * time.Millisecond
	// rateOver is how long the rate of the tunnel is measured before the chunks
	// are cut anew.
	rateOver = 50 * time.Millisecond
	// activeFor is how long a dedicated lane counts as active after its last
	// data: the next picture may come at any moment.
	activeFor = time.Second
	// overdue is how long others wait for a chunk: then its own stream holds it
	// up, not the tunnel.
	overdue = 50 * time.Millisecond
	// floorShare: mixed lanes get one byte for so many of dedicated lanes, also
	// when these always have more.
	floorShare = 16
	// floorEvery is how long mixed lanes wait at most for a chunk, whatever
	// dedicated lanes do.
	floorEvery = 100 * time.Millisecond
	// overtakenBy: a dedicated lane that does not get rid of a piece while mixed
	// lanes wrote that many bytes more is held up by its own stream.
	overtakenBy = 32 << 10

	unlimited = 1 << 30
)

// A piece is what a lane hands to the tunnel in one write: the tunnel serves
// the lanes in turn, packet by packet, and the write returns when (but for the
// last packet) all is on its way.
type piece struct {
	size   int
	since  time.Time // when the write began
	passed int       // what mixed lanes have written since, if the lane is dedicated
}

// A schedule decides when mixed lanes write, and how much: dedicated lanes go
// first. While one is active, one mixed lane at a time writes one chunk; while
// one has a piece waiting, mixed lanes get the floor and no more. It is pure:
// it is told what is written, and the time.
type schedule struct {
	dedicated []*piece // being written
	mixed     []*piece // the same; only of those that asked while dedicated lanes are active
	heard     time.Time
	served    time.Time // the last chunk
	credit    int       // bytes that mixed lanes may write though dedicated lanes wait
	chunk     int       // 0 means minChunk

	moved      int // bytes written since measuring
	measuredAt time.Time
}

// active reports whether a dedicated lane has, or may soon have, something to
// write.
func (s *schedule) active(now time.Time) bool {
	return len(s.dedicated) > 0 || !s.heard.IsZero() && now.Sub(s.heard) < activeFor
}

// admit returns how much a mixed lane may write now. If that is nothing, it may
// ask again when something was written, or after wait.
func (s *schedule) admit(now time.Time) (n int, wait time.Duration) {
	if !s.active(now) {
		return unlimited, 0
	}
	for _, p := range s.mixed {
		if wait := overdue - now.Sub(p.since); wait > 0 {
			return 0, wait
		}
	}
	passed, waiting := s.waiting()
	if !waiting {
		return max(minChunk, s.chunk), 0
	}
	if s.credit >= minChunk {
		s.credit -= minChunk
		return minChunk, 0
	}
	if wait := floorEvery - now.Sub(s.served); wait > 0 {
		return 0, wait
	}
	// While one stream is served, so are the others: if it turns out, with more
	// and more bytes, that they are not, the tunnel is not what they wait for.
	return max(minChunk, passed), 0
}

// waiting reports whether a dedicated lane waits for the tunnel, and how many
// bytes have passed the one that has waited longest.
func (s *schedule) waiting() (passed int, ok bool) {
	for _, p := range s.dedicated {
		if p.passed <= p.size+overtakenBy {
			passed, ok = max(passed, p.passed), true
		}
	}
	return passed, ok
}

// beginMixed says that a lane writes p, which was admitted.
func (s *schedule) beginMixed(p *piece, size int, now time.Time) {
	*p = piece{size: size, since: now}
	s.mixed = append(s.mixed, p)
	s.served = now
}

// beginDedicated says that a dedicated lane writes p, perhaps right after what
// p was before.
func (s *schedule) beginDedicated(p *piece, size int, now time.Time) {
	if slices.Contains(s.dedicated, p) {
		s.measure(p.size, now)
	} else {
		s.dedicated = append(s.dedicated, p)
	}
	*p = piece{size: size, since: now}
	s.heard = now
	s.credit = min(s.credit+size/floorShare, maxChunk)
}

// done says that a piece is written, or will not be.
func (s *schedule) done(p *piece, now time.Time) {
	if i := slices.Index(s.dedicated, p); i >= 0 {
		s.dedicated = slices.Delete(s.dedicated, i, i+1)
		s.heard = now
	} else if i := slices.Index(s.mixed, p); i >= 0 {
		s.mixed = slices.Delete(s.mixed, i, i+1)
		for _, d := range s.dedicated {
			d.passed += p.size
		}
	} else {
		return
	}
	s.measure(p.size, now)
}

// measure cuts the chunks to what the tunnel takes.
func (s *schedule) measure(n int, now time.Time) {
	s.moved += n
	over := now.Sub(s.measuredAt)
	if over < rateOver {
		return
	}
	// A pause says nothing about the tunnel, but its end is a good time for
	// short chunks.
	rate := float64(s.moved) / over.Seconds()
	s.chunk = max(minChunk, min(int(rate*chunkTakes.Seconds()), maxChunk))
	s.moved, s.measuredAt = 0, now
}
