package lane

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Limits of one stream.
const (
	maxFrame = 32 << 10 // bytes of one write in a frame: streams take turns after it
	minFrame = 8 << 10  // the same while dedicated lanes take turns with mixed ones
	// Three quarters of it are always under way: 1 Gbit/s for 100 ms and more, or
	// 200 Mbit/s for 200 ms while what was lost twice is sent a third time.
	mixedWindow     = 32 << 20
	dedicatedWindow = 2 << 20
	// A quarter of the window is granted anew when it is used: with a half, up
	// to half of the window would be idle on a long path.
	grantAt = 4
	// shrinkTo is the time for which a window lasts that has shrunk to what its
	// reader takes: more than most round trips.
	shrinkTo = 400 * time.Millisecond
	// growEvery is how often a peer may ask for a larger window, and refusedFor how
	// long it waits when there was none.
	growEvery  = 10 * time.Millisecond
	refusedFor = 100 * time.Millisecond
)

// A flow is one stream as its link sees it: what flow control, half-close and
// resets need. All waiting of readers and writers happens here, so that every
// wait can be ended; yamux below is only called when it will not block.
type flow struct {
	l      *link
	id     uint32
	dialed bool

	y        atomic.Pointer[yamux.Stream] // nil before it is accepted and after the end
	readable chan struct{}                // holds a token when the reader must look again
	writable chan struct{}                // the same for the writer
	over     chan struct{}                // closed when the stream does not count as live any more
	account  account

	// Guarded by l.mu.
	err         error // ends both directions at once
	lost        error // the lane is gone; what has arrived may still be read
	live        bool  // counted by the set
	accepted    bool  // has, or had, a handler
	acked       bool  // yamux has seen the peer's ACK
	finSent     bool
	finReceived bool
	stopped     bool // the peer does not read any more
	writeClosed bool // by CloseWrite or Close
	closing     bool // by Close: nobody reads or writes any more here
	backlog     backlog
	unread      int64 // bytes in backlog
	sendWindow  int64
	sendGranted uint32 // what the peer has granted in all; may wrap
	little      int64  // so much of sendWindow is little: about a quarter of the window
	toldFull    bool   // the peer knows that no more than that is left
	recvWindow  int64  // what the peer may still send
	window      int64  // what recvWindow and unread should add up to
	maxWindow   int64
	short       bool      // the peer has, or soon would have, to wait for window
	granted     int64     // in all, beyond initialWindow
	askAt       time.Time // before that, asking for a larger window is in vain
	grownAt     int64     // granted, with the last growth
	renewedAt   time.Time
	taken       int64 // read since
	synAt       int64 // position of the SYN in the outgoing bytes
	waiting     bool  // in l.out's line
	want        int   // bytes it waits for there
	turn        int   // bytes it was given
}

func newFlow(l *link, id uint32, dialed bool, share *share) *flow {
	f := &flow{
		l: l, id: id, dialed: dialed,
		readable:   make(chan struct{}, 1),
		writable:   make(chan struct{}, 1),
		over:       make(chan struct{}),
		sendWindow: initialWindow,
		little:     initialWindow / grantAt,
		recvWindow: initialWindow,
		window:     initialWindow,
		maxWindow:  mixedWindow,
	}
	f.account.flow, f.account.share = f, share
	return f
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// errGivenUp is returned by what waits when its caller has given up.
var errGivenUp = errors.New("given up")

// read reads what has arrived. It waits until something has, until is over or
// giveUp is closed (nil: never). Calls may not overlap.
func (f *flow) read(giveUp <-chan struct{}, p []byte, until *deadline) (int, error) {
	for {
		if until.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		if n, ready, err := f.take(p); ready || err != nil {
			return n, err
		}
		select {
		case <-f.readable:
		case <-until.done():
			return 0, os.ErrDeadlineExceeded
		case <-giveUp:
			return 0, errGivenUp
		}
	}
}

// take reads what is there. It is not ready if nothing is.
func (f *flow) take(p []byte) (n int, ready bool, err error) {
	l := f.l
	l.mu.Lock()
	defer l.unlock()
	if err := f.readErr(); err != nil {
		return 0, false, err
	}
	ready = f.unread > 0
	for n < len(p) {
		first := f.backlog.first()
		if len(first) == 0 {
			break
		}
		l.mu.Unlock() // what comes in meanwhile goes behind it
		k := copy(p[n:], first)
		l.mu.Lock()
		n += k
		if x := f.backlog.skip(k); x != nil {
			l.budget.put(&f.account, x)
		}
	}
	if n > 0 {
		f.consumed(n)
	}
	return n, ready, nil
}

// readErr returns why nothing more can be read, or nil.
func (f *flow) readErr() error {
	switch {
	case f.closing:
		return net.ErrClosed
	case f.err != nil:
		return f.err
	case f.unread > 0:
		return nil
	case f.finReceived:
		return io.EOF
	}
	return f.lost
}

// consumed records that n bytes were read. The caller holds l.mu.
func (f *flow) consumed(n int) {
	if f.err != nil {
		return // and nothing is unread any more
	}
	f.unread -= int64(n)
	f.taken += int64(n)
	now := time.Now()
	f.account.read(n, now)
	f.renew(now)
}

// renew grants the peer new window when enough of it is used. The window grows,
// once in a round trip, when the peer has little left although its data is being
// read; it shrinks when much is unread, because the reader is what is slow. The
// caller holds l.mu.
func (f *flow) renew(now time.Time) {
	if f.finReceived || f.lost != nil || f.err != nil || f.closing {
		return
	}
	grows := f.short && f.unread < f.window/grantAt && f.window < f.maxWindow
	if !grows && f.window-f.unread-f.recvWindow < f.window/grantAt {
		return
	}
	l := f.l
	f.window = l.budget.window(&f.account)
	switch {
	case grows:
		f.short = false
		more := min(4*f.window, f.maxWindow) - f.window // faster than congestion control
		more = l.budget.grow(&f.account, more, min(f.window, more), now)
		if f.window += more; more == 0 {
			f.askAt = now.Add(refusedFor)
		}
	case f.unread > f.window/2:
		took := now.Sub(f.renewedAt)
		for f.window > initialWindow && float64(f.taken)*float64(shrinkTo) < float64(f.window/2)*float64(took) {
			f.window /= 2
			l.budget.shrink(&f.account, f.window)
		}
	}
	f.renewedAt, f.taken = now, 0
	grant := f.window - f.unread - f.recvWindow
	if grant < f.window/grantAt {
		return
	}
	f.account.granted.Store(now.UnixNano())
	f.recvWindow += grant
	f.granted += grant
	if grows {
		f.grownAt = f.granted
	}
	l.out.urgent(f, frame{kind: kindWindow, id: f.id, length: uint32(grant)})
}

// full is called when the peer writes and has little left of the window. of is
// how much it was granted in all, as it says: modulo 2^32.
func (f *flow) full(of uint32) {
	now := time.Now()
	behind := int64(uint32(f.granted) - of) // granted, but not known to it then
	// It has had what the window has grown by, has used it but for what waits in its
	// lane, and does not ask all the time.
	if behind <= f.recvWindow && f.granted-behind >= f.grownAt && f.recvWindow-behind <= f.window/2+2*outLimit && !now.Before(f.askAt) {
		f.askAt = now.Add(growEvery)
		f.short = true
		f.renew(now)
	}
}

// dedicate makes the lane of f one that goes first.
func (f *flow) dedicate() {
	f.l.mu.Lock()
	defer f.l.unlock()
	f.maxWindow = dedicatedWindow
	f.l.set.turns.dedicate(f.l)
}

// reserve waits until at least one byte, at most want, may be written, and
// takes that from the window of the stream and the room of the lane.
func (f *flow) reserve(giveUp <-chan struct{}, want int, until *deadline) (int, error) {
	l := f.l
	for {
		var err error
		if until.passed() {
			err = os.ErrDeadlineExceeded
		}
		l.mu.Lock()
		if err == nil {
			err = f.writeErr()
		}
		n := 0
		if err == nil && f.sendWindow > 0 {
			n = l.out.take(f, min(want, int(f.sendWindow), l.set.turns.frame()))
			f.sendWindow -= int64(n)
		}
		if err == nil && f.sendWindow <= f.little && !f.toldFull {
			f.toldFull = true
			l.out.urgent(f, frame{kind: kindWindow, flags: flagFull, id: f.id, length: f.sendGranted})
		}
		if err != nil {
			l.out.withdraw(f)
		}
		l.unlock()
		if err != nil || n > 0 {
			return n, err
		}
		select {
		case <-f.writable:
		case <-until.done(): // seen above
		case <-giveUp:
			l.mu.Lock()
			l.out.withdraw(f)
			l.unlock()
			return 0, errGivenUp
		}
	}
}

// allow records that the peer has granted n bytes more. It reports false if that
// is too much. The caller holds l.mu.
func (f *flow) allow(n uint32) bool {
	if n > 0 {
		f.sendWindow += int64(n)
		f.sendGranted += n
		// The window itself is not known here. A grant is a quarter of it, but for one
		// that makes it larger.
		f.little = min(int64(n), f.sendWindow/3)
		f.toldFull = false
		notify(f.writable)
	}
	return f.sendWindow <= maxSendWindow
}

// writeErr returns why nothing more can be written, or nil.
func (f *flow) writeErr() error {
	switch {
	case f.writeClosed, f.closing:
		return net.ErrClosed
	case f.err != nil:
		return f.err
	case f.stopped:
		return &ResetError{Code: CodeAbandoned}
	}
	return f.lost
}

// write writes all of p, unless until is over or giveUp is closed (nil: never)
// before. Calls may not overlap.
func (f *flow) write(giveUp <-chan struct{}, p []byte, until *deadline) (n int, err error) {
	for n < len(p) {
		size, err := f.reserve(giveUp, len(p)-n, until)
		if err != nil {
			return n, err
		}
		y, done := f.y.Load(), 0
		if y != nil {
			done, err = y.Write(p[n : n+size])
			n += done
		}
		if done < size {
			f.l.mu.Lock()
			f.l.out.giveBack(size - done)
			if f.writeErr() == nil { // the session has ended before the link knows
				f.lose(errors.Join(ErrLost, err))
			}
			err = f.writeErr()
			f.l.unlock()
			return n, err
		}
	}
	return n, nil
}

// finish ends both directions with err and frees what the stream holds here. It
// tells neither the peer nor yamux. The caller holds l.mu.
func (f *flow) finish(err error) {
	if f.err == nil {
		f.err = err
	}
	f.y.Store(nil)
	f.backlog, f.unread = backlog{}, 0
	f.l.budget.close(&f.account)
	f.end()
	notify(f.readable)
	notify(f.writable)
}

// lose ends the stream because its lane has ended. What has arrived stays
// readable. The caller holds l.mu.
func (f *flow) lose(err error) {
	if f.lost == nil {
		f.lost = err
	}
	f.end()
	notify(f.readable)
	notify(f.writable)
}

// begin makes the stream live. Its place in the load of the lane was taken when
// the lane was chosen. The caller holds l.mu.
func (f *flow) begin() {
	f.live = true
	f.l.set.count(1, f.dialed)
	f.l.effects.report++
}

// end makes the stream not live. The caller holds l.mu.
func (f *flow) end() {
	if isClosed(f.over) {
		return
	}
	close(f.over)
	if !f.dialed && !f.accepted {
		f.l.set.leavePlace() // no handler will
	}
	if f.live {
		f.live = false
		f.l.set.count(-1, f.dialed)
		f.l.effects.report++
		if f.dialed {
			f.l.load.Add(-1)
		}
	}
}
