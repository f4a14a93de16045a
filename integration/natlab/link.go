package natlab

import "time"

// A Link says what one direction of a wire does to what passes through it. In
// this order: a frame may vanish (Loss), waits for its turn or finds no room
// (Rate, Queue), travels (Delay, Jitter), and may be held back (Reorder).
//
// A frame is what one Ethernet cable would carry at a time, at most 1514 bytes
// with the usual MTU, also where the kernel hands over many of them in one
// piece: each is judged, counted and timed by itself. A frame counts with all
// bytes from its Ethernet header to the end of its payload: 14 more than the IP
// packet in it, without preamble, check sum and gap.
type Link struct {
	// Delay is the time from one end to the other.
	Delay time.Duration
	// Jitter is the most by which the delay is longer at times. The delay wanders
	// between Delay and Delay+Jitter, on average in the middle, at a random place
	// after each period of the length of Jitter. Frames keep their order.
	Jitter time.Duration
	// Rate is how fast frames leave, in bits per second; 0 is unlimited.
	Rate int64
	// Loss is the share of the frames that vanish, 0 to 1. The dice are thrown
	// before the queue: a lost frame takes neither room nor time.
	Loss float64
	// Queue is how many bytes may wait while another frame is being sent; a frame
	// for which there is no room is dropped. 0 means 256 KiB. Without Rate, no
	// frame waits.
	Queue int
	// Reorder is the share of the frames, 0 to 1, that arrive later by ReorderBy,
	// so that those sent in the meantime overtake them. Held frames keep their
	// order among each other.
	Reorder float64
	// ReorderBy is how late these frames are; 0 means 5 ms.
	ReorderBy time.Duration
}

const (
	defaultQueue     = 256 << 10 // 100 ms at 20 Mbit/s, as a home router holds
	defaultReorderBy = 5 * time.Millisecond
	shortestWander   = time.Millisecond // what less jitter than this takes from end to end
)

func (l *Link) queue() int {
	if l.Queue == 0 {
		return defaultQueue
	}
	return l.Queue
}

func (l *Link) reorderBy() time.Duration {
	if l.ReorderBy == 0 {
		return defaultReorderBy
	}
	return l.ReorderBy
}

// takes returns how long the line is busy with that many bytes.
func (l *Link) takes(bytes float64) time.Duration {
	if l.Rate <= 0 {
		return 0
	}
	return time.Duration(bytes * 8 / float64(l.Rate) * float64(time.Second))
}
