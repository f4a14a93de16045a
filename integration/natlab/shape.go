package natlab

import "time"

// defaultQueue holds 100 ms at 20 Mbit/s, as a home router does.
const defaultQueue = 256 << 10

// A Link says what a wire does to what passes through it, in each direction.
type Link struct {
	Delay time.Duration // from one end to the other
	Rate  int64         // bits per second; 0 is unlimited
	Loss  float64       // share of the frames that vanish, 0 to 1
	Queue int           // bytes that may wait for their turn when Rate is set; 0 means 256 KiB
}

// A shaper decides what becomes of the frames in one direction of a wire. It is
// pure: it is told the time and the dice.
type shaper struct {
	link Link
	free time.Time // when the frames admitted so far will have left
}

// admit reports whether a frame gets through and when it arrives. draw is a
// random number in [0, 1).
func (s *shaper) admit(now time.Time, size int, draw float64) (arrives time.Time, ok bool) {
	if draw < s.link.Loss {
		return time.Time{}, false
	}
	if s.free.Before(now) {
		s.free = now
	}
	if s.link.Rate <= 0 {
		return s.free.Add(s.link.Delay), true
	}
	queue := s.link.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	if s.free.Sub(now) > s.takes(queue) {
		return time.Time{}, false
	}
	s.free = s.free.Add(s.takes(size))
	return s.free.Add(s.link.Delay), true
}

// takes returns how long the line is busy with that many bytes.
func (s *shaper) takes(bytes int) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(s.link.Rate) * float64(time.Second))
}
