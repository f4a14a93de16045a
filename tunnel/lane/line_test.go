package lane_test

import (
	"io"
	"math"
	"slices"
	"sync"
	"time"
)

// linePacket is what goes over a line at once; of a fast one as many as take 100 µs.
const linePacket = 1400

// A line is one direction of a tunnel under virtual time: all byte streams share
// its rate, and it serves them in turn, a packet each, as QUIC does.
type line struct {
	rate   float64 // bytes per second
	delay  time.Duration
	packet int

	mu      sync.Mutex
	changed sync.Cond
	turn    []*lineEnd // have something to send
	closed  bool
	way     chan lineTransit
}

type lineTransit struct {
	to      *half
	b       []byte
	arrives time.Time
}

// A lineEnd is one end of a byte stream whose outgoing direction goes over a
// line. Write returns when all but the last packet is on its way.
type lineEnd struct {
	*memConn // its in, and what resets
	out      *line
	to       *half // in of the other end
	waiting  []byte
	ended    bool
	reset    bool
	held     bool // by its own flow control: nothing goes
}

func newLine(rate float64, delay time.Duration) *line {
	l := &line{rate: rate, delay: delay, packet: max(linePacket, int(rate/10000)), way: make(chan lineTransit, 1<<16)}
	l.changed.L = &l.mu
	return l
}

// linePair returns a byte stream over two lines.
func linePair(there, back *line) (a, b *lineEnd) {
	x, y := newHalf(), newHalf()
	x.limit, y.limit = math.MaxInt, math.MaxInt
	a = &lineEnd{memConn: &memConn{in: x, out: newHalf()}, out: there, to: y}
	b = &lineEnd{memConn: &memConn{in: y, out: newHalf()}, out: back, to: x}
	return a, b
}

// run carries until close.
func (l *line) run() {
	var arriving sync.WaitGroup
	defer arriving.Wait()
	defer close(l.way)
	arriving.Go(func() {
		for t := range l.way {
			time.Sleep(time.Until(t.arrives))
			if t.b == nil {
				t.to.change(func() { t.to.ended = true })
			}
			t.to.write(t.b)
		}
	})
	for {
		end, b, ok := l.next()
		if !ok {
			return
		}
		time.Sleep(time.Duration(float64(len(b)) / l.rate * float64(time.Second)))
		l.way <- lineTransit{end.to, b, time.Now().Add(l.delay)}
	}
}

func (l *line) next() (end *lineEnd, b []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed {
		i := slices.IndexFunc(l.turn, func(e *lineEnd) bool { return !e.held })
		if i < 0 {
			l.changed.Wait()
			continue
		}
		end = l.turn[i]
		l.turn = slices.Delete(l.turn, i, i+1)
		if len(end.waiting) == 0 {
			return end, nil, true // its end
		}
		n := min(len(end.waiting), l.packet)
		b = slices.Clone(end.waiting[:n])
		if end.waiting = end.waiting[n:]; len(end.waiting) > 0 || end.ended {
			l.turn = append(l.turn, end)
		}
		l.changed.Broadcast()
		return end, b, true
	}
	return nil, nil, false
}

func (l *line) close() { l.change(func() { l.closed = true }) }

func (l *line) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.changed.Broadcast()
}

func (e *lineEnd) Write(p []byte) (int, error) {
	l := e.out
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.ended {
		return 0, io.ErrClosedPipe
	}
	e.waiting = append(e.waiting, p...)
	if !slices.Contains(l.turn, e) {
		l.turn = append(l.turn, e)
		l.changed.Broadcast()
	}
	for !e.reset && !l.closed && len(e.waiting) > linePacket {
		l.changed.Wait()
	}
	if e.reset || l.closed {
		return 0, errReset
	}
	return len(p), nil
}

func (e *lineEnd) CloseWrite() error {
	e.out.change(func() {
		e.ended = true
		if !slices.Contains(e.out.turn, e) {
			e.out.turn = append(e.out.turn, e)
		}
	})
	return nil
}

func (e *lineEnd) Reset() {
	e.memConn.Reset()
	e.to.change(func() { e.to.reset = true })
	e.out.change(func() { e.reset = true })
}
