package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// A Conn is one bidirectional byte stream of the tunnel, such as a QUIC stream.
// A Write may be going on beside a Read, and any of the other methods beside
// both.
type Conn interface {
	io.Reader
	io.Writer
	// CloseWrite ends the outgoing direction behind what was written.
	CloseWrite() error
	// SetReadDeadline works as that of [net.Conn]: a deadline in the past ends
	// a Read that waits.
	SetReadDeadline(time.Time) error
	// Reset ends both directions without delay, here and at the peer, and ends
	// a Read and a Write that wait. It may be called again.
	Reset()
}

// A link is the adapter between a yamux session and the Conn below it. To yamux
// it is the connection; it reads every frame that passes and adds what yamux
// lacks: resets, flow control within a budget, writes that can be given up.
//
// It never makes yamux wait: Write queues, and Read hands over only frames without
// a body. Unread data stays in blocks of the budget, of which a stream has as many
// as it needs.
type link struct {
	conn    Conn
	set     *Set
	budget  *Budget
	accepts bool          // the peer opened the lane, and opens streams on it
	load    atomic.Int32  // streams that were dialed here, or are about to be
	gone    chan struct{} // closed when the link is of no more use
	ended   chan struct{} // closed when the peer has ended its direction

	in inbox // belongs to the goroutine that calls Read

	mu      sync.Mutex
	err     error // why the link is gone; never nil then
	lost    error // why its streams are; the link may still write what is queued
	closed  bool  // by yamux
	flows   map[uint32]*flow
	opened  *flow   // by the last SYN that went out
	lastID  uint32  // the highest that the peer has opened
	local   []frame // for yamux, from us
	partial [frameSize]byte
	body    int // bytes of body that follow the header in partial
	out     outbox
	turn    turn
	effects effects
}

// effects are what has to be done after the mutex is released.
type effects struct {
	report int   // changes of the number of live streams
	kick   bool  // wake Read: there are frames in local
	fail   error // end the link
}

func newLink(s *Set, conn Conn, accepts bool) *link {
	return &link{
		conn: conn, set: s, budget: s.budget, accepts: accepts,
		gone:  make(chan struct{}),
		ended: make(chan struct{}),
		in:    inbox{buf: make([]byte, readSize)},
		flows: make(map[uint32]*flow),
		out:   outbox{buffers: &s.writes, work: make(chan struct{}, 1)},
		turn:  turn{come: make(chan struct{}, 1)},
	}
}

// unlock releases l.mu, then does what was left for then.
func (l *link) unlock() {
	if l.effects.fail == nil && l.err == nil && l.out.flooded() {
		l.effects.fail = fmt.Errorf("%w: the peer takes no frames", errProtocol)
	}
	do := l.effects
	l.effects = effects{}
	l.mu.Unlock()
	for range do.report {
		l.set.report()
	}
	if do.kick {
		l.conn.SetReadDeadline(time.Unix(1, 0))
	}
	if do.fail != nil {
		l.fail(do.fail)
	}
}

// fail ends the link at once: the byte stream is reset and every stream is
// lost. Calling it again does nothing.
func (l *link) fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
		close(l.gone)
		l.loseAll(err)
	}
	l.unlock()
	if first {
		l.conn.Reset()
	}
}

// loseAll ends all streams because the lane ends.
func (l *link) loseAll(err error) {
	if l.lost == nil {
		l.lost = fmt.Errorf("%w: %w", ErrLost, err)
	}
	for id, f := range l.flows {
		delete(l.flows, id)
		f.lose(l.lost)
		l.out.withdraw(f)
	}
}

// Close is called by yamux when its session ends, and makes Read return. The
// byte stream is the lane's to end.
func (l *link) Close() error {
	l.mu.Lock()
	l.closed = true
	l.loseAll(net.ErrClosed) // what has arrived can still be read
	l.effects.kick = true
	l.unlock()
	return nil
}

// Write is called by yamux with a header or with the body that belongs to the
// last header. It queues both together.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.unlock()
	if l.closed || l.err != nil {
		return 0, net.ErrClosed
	}
	if l.body > 0 {
		if len(p) != l.body {
			return 0, fmt.Errorf("yamux wrote a body of %d bytes, announced %d", len(p), l.body)
		}
		l.body = 0
		l.out.reserved -= len(p)
		if _, ok := l.flows[binary.BigEndian.Uint32(l.partial[4:])]; ok {
			l.out.append(l.partial[:])
			l.out.append(p)
		}
		l.out.admit()
		return len(p), nil
	}
	if len(p) != frameSize {
		return 0, fmt.Errorf("yamux wrote a header of %d bytes", len(p))
	}
	f, err := parseFrame(p)
	if err != nil {
		return 0, err
	}
	if f.kind == kindData && f.length > 0 {
		copy(l.partial[:], p)
		l.body = int(f.length)
	} else {
		l.writeControl(f)
	}
	return len(p), nil
}

// writeControl handles a frame without a body that yamux sends.
func (l *link) writeControl(f frame) {
	if f.kind != kindWindow {
		return // yamux says why it ends the session; the peer sees that it does
	}
	f.length = 0 // the grant of yamux; see flow.renew
	of := l.flows[f.id]
	if f.flags&flagSYN != 0 {
		of = newFlow(l, f.id, true, &l.set.share)
		l.flows[f.id], l.opened = of, of
	}
	if of == nil || f.flags == 0 {
		return
	}
	l.out.inOrder(f)
	switch {
	case f.flags&flagSYN != 0:
		of.synAt = l.out.queued
	case f.flags&flagRST != 0: // yamux has removed it: its backlog was full
		delete(l.flows, f.id)
		of.finish(&ResetError{Code: CodeBusy, Local: true})
	case f.flags&flagFIN != 0:
		of.finSent = true
		l.forgetIfDone(of)
	}
}

// forgetIfDone ends a stream both of whose directions have: yamux forgets it as
// well. What has arrived can still be read; no lane is needed for that.
func (l *link) forgetIfDone(f *flow) {
	if f.finSent && f.finReceived {
		delete(l.flows, f.id)
		f.end()
	}
}

// discard makes yamux forget a stream. What still comes for it is dropped.
func (l *link) discard(f *flow) {
	delete(l.flows, f.id)
	rst := frame{kind: kindWindow, flags: flagRST, id: f.id}
	if f.dialed && !f.acked {
		rst.flags |= flagACK // or yamux keeps it among those not acknowledged
	}
	l.local = append(l.local, rst)
	l.effects.kick = true
}

// reset ends a stream here, with err, and at the peer, with code.
func (l *link) reset(f *flow, code uint16, err error) {
	l.mu.Lock()
	defer l.unlock()
	if f.err != nil || f.closing {
		return
	}
	if l.flows[f.id] == f {
		l.out.urgent(f, frame{kind: kindWindow, flags: flagRST, id: f.id, length: uint32(code)})
		l.discard(f)
	}
	l.out.withdraw(f)
	f.finish(err)
}

// closeWrite ends the outgoing direction of f. The caller sees to it that
// nothing is being written.
func (l *link) closeWrite(f *flow) {
	if y := f.y.Load(); y != nil {
		y.Close() // queues the FIN; fails only when the session has ended
	}
}

// close ends both directions of f, after the end of what was written: the peer
// is told that nobody reads any more. The outgoing direction has ended.
func (l *link) close(f *flow) {
	l.mu.Lock()
	defer l.unlock()
	if l.flows[f.id] == f {
		if !f.finReceived {
			l.out.inOrder(frame{kind: kindWindow, flags: flagStop, id: f.id, length: uint32(CodeAbandoned)})
		}
		l.discard(f)
	}
	f.finish(net.ErrClosed)
}

// open opens a stream. The caller makes sure that the calls do not overlap.
func (l *link) open(session *yamux.Session) (*flow, error) {
	y, err := session.OpenStream()
	if err != nil { // the session has ended, or is out of numbers
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	l.mu.Lock()
	defer l.unlock()
	f := l.opened
	if f == nil || f.id != y.StreamID() {
		return nil, errors.New("yamux opened a stream and said nothing")
	}
	l.opened = nil
	f.y.Store(y)
	if l.lost != nil { // perhaps before this stream was there to be lost
		delete(l.flows, f.id)
		f.finish(l.lost)
	}
	if f.err != nil {
		f.y.Store(nil)
		return nil, f.err
	}
	f.begin()
	return f, nil
}

// accept returns the flow of a stream that yamux has accepted, or nil if it has
// ended already. The caller gives the place back that the stream takes.
func (l *link) accept(y *yamux.Stream) *flow {
	l.mu.Lock()
	defer l.unlock()
	f := l.flows[y.StreamID()]
	if f == nil || isClosed(f.over) {
		return nil
	}
	f.y.Store(y)
	f.accepted = true
	f.begin()
	return f
}

// finish makes pump end the outgoing direction when all is written.
func (l *link) finish() {
	l.mu.Lock()
	defer l.unlock()
	l.out.closing = true
	notify(l.out.work)
}
