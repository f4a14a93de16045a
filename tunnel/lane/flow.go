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
	maxFrame        = 32 << 10 // bytes of one write in a frame: streams take turns after it
	minFrame        = 8 << 10  // the same while dedicated lanes take turns with mixed ones
	mixedWindow     = 4 << 20
	dedicatedWindow = 2 << 20
	// A quarter of the window is granted anew when it is used: with a half, up
	// to half of the window would be idle on a long path.
	grantAt = 4
	// growWithin is how fast a reader must have taken that quarter for the
	// window to double: then the window, not the path, may be what limits the
	// stream, for round trips up to four times this long.
	growWithin = 250 * time.Millisecond
	// shrinkAfter is how long a reader waits in vain before the buffer of its
	// stream is given back.
	shrinkAfter = time.Second
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
	idle     *time.Timer // belongs to the reader; made on demand

	// Guarded by l.mu.
	err         error // ends both directions at once
	lost        error // the lane is gone; what has arrived may still be read
	live        bool  // counted by the set
	accepted    bool  // has, or had, a handler
	acked       bool  // yamux has seen the peer's ACK
	finSent     bool
	finReceived bool
	eofRead     bool
	stopped     bool  // the peer does not read any more
	writeClosed bool  // by CloseWrite or Close
	closing     bool  // by Close: nobody reads or writes any more here
	unread      int64 // bytes given to yamux and not read
	sendWindow  int64
	recvWindow  int64 // what the peer may still send
	window      int64 // what recvWindow and unread should add up to
	maxWindow   int64
	grantedAt   time.Time
	synAt       int64 // position of the SYN in the outgoing bytes
	waiting     bool  // in l.out's line
	want        int   // bytes it waits for there
	turn        int   // bytes it was given
}

func newFlow(l *link, id uint32, dialed bool) *flow {
	f := &flow{
		l: l, id: id, dialed: dialed,
		readable:   make(chan struct{}, 1),
		writable:   make(chan struct{}, 1),
		over:       make(chan struct{}),
		sendWindow: initialWindow,
		recvWindow: initialWindow,
		window:     initialWindow,
		maxWindow:  mixedWindow,
		grantedAt:  time.Now(),
	}
	f.account.flow = f
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
		y := f.y.Load()
		f.l.mu.Lock()
		unread, err := f.unread, f.readErr()
		f.l.unlock()
		if err != nil {
			return 0, err
		}
		if unread > 0 && y != nil {
			if len(p) == 0 {
				return 0, nil
			}
			n, err := y.Read(p)
			f.consumed(n)
			if n > 0 {
				return n, nil
			}
			f.broken(err)
			continue
		}
		if err := f.awaitData(giveUp, until); err != nil {
			return 0, err
		}
	}
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

// awaitData waits until the reader must look again.
func (f *flow) awaitData(giveUp <-chan struct{}, until *deadline) error {
	var idle <-chan time.Time
	if f.l.budget.keeps(&f.account) {
		if f.idle == nil {
			f.idle = time.NewTimer(shrinkAfter)
		} else {
			f.idle.Reset(shrinkAfter)
		}
		defer f.idle.Stop()
		idle = f.idle.C
	}
	for {
		select {
		case <-f.readable:
			return nil
		case <-until.done():
			return os.ErrDeadlineExceeded
		case <-giveUp:
			return errGivenUp
		case <-idle:
			f.l.budget.shrink(&f.account)
		}
	}
}

// broken handles that yamux has no data where some was given to it: the stream
// has ended in between. Only a lane that ends does that before the link knows.
func (f *flow) broken(err error) {
	f.l.mu.Lock()
	defer f.l.unlock()
	if f.err == nil && f.lost == nil {
		f.lost = errors.Join(ErrLost, err)
	}
	if f.unread > 0 {
		f.finReceived = false // the data before the end is missing
	}
	f.unread = 0
	f.l.budget.close(&f.account)
}

// consumed records that n bytes were read, and grants the peer new window when
// enough of it is used.
func (f *flow) consumed(n int) {
	now := time.Now()
	l := f.l
	l.mu.Lock()
	defer l.unlock()
	f.unread -= int64(n)
	l.budget.read(&f.account, int64(n), now)
	if f.finReceived || f.lost != nil || f.err != nil || f.closing {
		return
	}
	if f.window-f.unread-f.recvWindow < f.window/grantAt {
		return
	}
	if f.window < f.maxWindow && now.Sub(f.grantedAt) < growWithin && l.budget.grow(&f.account, f.window) {
		f.window *= 2
	}
	f.grantedAt = now
	grant := f.window - f.unread - f.recvWindow
	f.recvWindow += grant
	l.out.urgent(f, frame{kind: kindWindow, id: f.id, length: uint32(grant)})
}

// dedicate makes the lane of f one that goes first.
func (f *flow) dedicate() {
	f.l.mu.Lock()
	defer f.l.unlock()
	f.maxWindow = dedicatedWindow
	f.l.set.turns.dedicate(f.l)
}

// shrink gives the receive buffer back if it is empty.
func (f *flow) shrink() {
	if y := f.y.Load(); y != nil {
		y.Shrink()
	}
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
