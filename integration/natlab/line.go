package natlab

import (
	"math/rand/v2"
	"time"
)

// A line is one direction of a wire: it says what becomes of the frames that
// enter. It is pure: times are told, as durations since the wire began, and
// never go backwards; its dice have a seed.
type line struct {
	link Link
	dice dice

	waiting ring[frame] // for their turn; the first is being sent
	bytes   int         // of waiting
	sent    float64     // share of the first that has left already
	free    time.Duration
	flying  track // on the way, in order
	held    track // on the way, to be overtaken
	drift   drift

	count count
}

// A frame is one frame on the way, with what is needed to write it.
type frame struct {
	load    load
	size    int  // bytes on the wire
	late    bool // to be overtaken
	entered time.Duration
	arrives time.Duration
}

// A track carries frames in order.
type track struct {
	ring[frame]
	newest time.Duration // when the last one arrives
}

// add lets a frame follow the others: it arrives after them.
func (t *track) add(f frame) {
	f.arrives = max(f.arrives, t.newest)
	t.newest = f.arrives
	t.push(f)
}

// dice are separate for what is drawn once per frame, so that the fate of the
// n-th frame is the same in each run with the same seed.
type dice struct{ loss, order, delay *rand.Rand }

func newDice(seed, direction uint64) dice {
	from := func(use uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, direction<<8|use)) }
	return dice{from(0), from(1), from(2)}
}

// set changes the link for what has not left yet. What is on the way stays as
// it is, and what follows does not arrive before it.
func (l *line) set(now time.Duration, link Link) {
	l.advance(now)
	if l.waiting.size > 0 { // half of the first frame may have left at the old rate
		first := l.waiting.front()
		if whole := l.link.takes(float64(first.size)); whole > 0 {
			l.sent += float64(now-max(l.free, first.entered)) / float64(whole)
		}
		l.free = now
	}
	l.link = link
	l.advance(now)
}

// enter takes a frame in and reports whether it will arrive.
func (l *line) enter(now time.Duration, f frame) bool {
	l.advance(now)
	lost, late := l.dice.loss.Float64() < l.link.Loss, l.dice.order.Float64() < l.link.Reorder
	switch {
	case lost:
		l.count.Lost++
		return false
	case l.waiting.size > 0 && l.queued()+f.size > l.link.queue():
		l.count.Full++
		return false
	}
	f.entered, f.late = now, late
	l.waiting.push(f)
	l.bytes += f.size
	l.advance(now)
	l.count.MostQueued = max(l.count.MostQueued, l.queued())
	return true
}

// queued returns how many bytes wait while another frame is being sent.
func (l *line) queued() int {
	if l.waiting.size == 0 {
		return 0
	}
	return l.bytes - l.waiting.front().size
}

// advance lets leave what has been sent by now.
func (l *line) advance(now time.Duration) {
	for l.waiting.size > 0 {
		begins, leaves := l.departure()
		if leaves > now {
			return
		}
		f := l.waiting.pop()
		l.bytes -= f.size
		l.free, l.sent = leaves, 0
		l.count.wait.add(max(begins-f.entered, 0))
		l.travel(leaves, f)
	}
}

// departure returns when the first waiting frame begins to leave, or goes on
// to, and when it is gone.
func (l *line) departure() (begins, leaves time.Duration) {
	first := l.waiting.front()
	begins = max(l.free, first.entered)
	return begins, begins + l.link.takes(float64(first.size)*(1-l.sent))
}

// travel puts a frame on its way.
func (l *line) travel(leaves time.Duration, f frame) {
	f.arrives = leaves + l.link.Delay
	if l.link.Jitter > 0 {
		f.arrives += time.Duration(l.drift.at(leaves, l.link.Jitter, l.dice.delay) * float64(l.link.Jitter))
	}
	if f.late {
		f.arrives = max(f.arrives, l.flying.newest) + l.link.reorderBy()
		l.held.add(f)
		return
	}
	l.flying.add(f)
}

// next returns a time before which there is nothing to do, if there will be
// anything to do at all.
func (l *line) next() (at time.Duration, ok bool) {
	if first := l.first(); first != nil {
		at, ok = first.front().arrives, true
	}
	if l.waiting.size > 0 {
		_, leaves := l.departure()
		if arrives := leaves + l.link.Delay; !ok || arrives < at {
			at, ok = arrives, true
		}
	}
	return at, ok
}

// due returns the next frame that has arrived by now, or nil. It stays until
// arrive is called.
func (l *line) due(now time.Duration) *frame {
	if first := l.first(); first != nil && first.front().arrives <= now {
		return first.front()
	}
	return nil
}

// arrive removes the frame that due returned.
func (l *line) arrive(now time.Duration) {
	f := l.first().pop()
	l.count.Frames++
	l.count.Bytes += int64(f.size)
	l.count.late.add(now - f.arrives)
}

// counters returns what is counted and begins anew with what is recent.
func (l *line) counters(now time.Duration) Counters {
	l.advance(now)
	c := l.count.Counters
	c.Queued = l.queued()
	c.OnTheWay = l.waiting.size + l.flying.size + l.held.size
	c.Wait, c.Late = l.count.wait.take(), l.count.late.take()
	l.count.MostQueued = c.Queued
	return c
}

// first returns the track of the frame that arrives next, or nil.
func (l *line) first() *track {
	switch {
	case l.flying.size == 0 && l.held.size == 0:
		return nil
	case l.held.size == 0 || l.flying.size > 0 && l.flying.front().arrives <= l.held.front().arrives:
		return &l.flying
	}
	return &l.held
}

// A drift is a random value that wanders between 0 and 1 in straight lines.
type drift struct {
	from, to float64
	begun    time.Duration
	runs     bool
}

// at returns the value at a time. It is somewhere else after each period.
func (d *drift) at(now, period time.Duration, dice *rand.Rand) float64 {
	period = max(period, shortestWander)
	if !d.runs || now-d.begun > 2*period {
		*d = drift{dice.Float64(), dice.Float64(), now, true}
	}
	for now-d.begun >= period {
		*d = drift{d.to, dice.Float64(), d.begun + period, true}
	}
	return d.from + (d.to-d.from)*float64(now-d.begun)/float64(period)
}
