package rtsp

import "time"

const (
	stallAfter = 8 * time.Second // of silence a camera is taken for dead; players give up after 10

	// A peer that was not heard for so long is away. On a tunnel that works, and that is
	// asked about, it is heard each second.
	awayAfter = 3 * time.Second
)

// A stall tells a camera that is dead from one whose peer is away for a moment, and of which
// nothing can be known: its clock runs only while the peer is heard. It is pure. The
// zero value is ready.
type stall struct {
	looked  time.Time
	silence time.Duration // of the camera, while the peer was not away
}

// tick is told each second when the camera was heard last, and asks for the same of the peer
// if that matters; zero: nobody knows. It says whether the camera is dead, and whether it
// has been silent long enough for that, but the peer is away.
func (s *stall) tick(now, camera time.Time, peer func() time.Time) (dead, away bool) {
	defer func() { s.looked = now }()
	if !camera.Before(s.looked) {
		s.silence = now.Sub(camera)
		return s.silence >= stallAfter, false
	}
	if heard := peer(); heard.IsZero() || now.Sub(heard) < awayAfter {
		s.silence += now.Sub(s.looked)
		return s.silence >= stallAfter, false
	}
	return false, now.Sub(camera) >= stallAfter
}
