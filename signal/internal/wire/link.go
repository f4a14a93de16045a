package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"peerway/signal/relay"
)

// Errors of a [Link].
var (
	ErrFull     = errors.New("the outgoing queue is full")
	ErrTooLarge = errors.New("message is too large")
)

// What may wait to be written, in bytes.
const (
	maxSignals = 256 << 10
	maxChunks  = 1 << 20 / flushAt
)

// readBuffer holds a relay frame or a usual message; a longer message gets a
// buffer of its own for as long as it is looked at.
const readBuffer = 2 << 10

// A Link carries messages and relay frames over one websocket. Messages
// overtake relay frames, and nothing that is sent ever blocks the sender: relay
// frames are dropped when the other end does not keep up.
//
// There is no writing goroutine while there is nothing to write, for the sake of
// a server with many idle peers.
//
// Read is for one goroutine; everything else may be called from any.
type Link struct {
	ws      *websocket.Conn
	conn    *Conn
	buffers *Buffers
	more    func() []byte

	in    []byte
	heard atomic.Int64 // when the last message came, in Unix nanoseconds

	writers sync.WaitGroup // the drainer, if there is one

	mu          sync.Mutex
	draining    bool     // there is a drainer
	shut        bool     // nothing more is accepted
	last        []byte   // the close message that ends a shut link
	pong        []byte   // the payload of the pong to write
	signals     [][]byte // messages to write
	signalBytes int
	wantMore    bool     // more has something
	chunks      []*chunk // relay frames to write
}

// A chunk holds relay frames, each after its length. It is as large as what is
// flushed at once.
type chunk struct {
	n int
	b [flushAt]byte
}

// Buffers are shared by links, so that idle ones have none. The zero value is
// ready for use.
type Buffers struct{ pool sync.Pool }

func (b *Buffers) chunk() *chunk {
	if c, ok := b.pool.Get().(*chunk); ok {
		c.n = 0
		return c
	}
	return new(chunk)
}

// NewLink takes ownership of a websocket over conn. A write that takes longer
// than timeout ends the link. It borrows buffers.
func NewLink(ws *websocket.Conn, conn *Conn, timeout time.Duration, buffers *Buffers) *Link {
	l := &Link{ws: ws, conn: conn, buffers: buffers, in: make([]byte, readBuffer)}
	l.heard.Store(time.Now().UnixNano())
	conn.hold(timeout)
	// The defaults of both write from the reader, which must never block.
	ws.SetPingHandler(func(payload string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pong = []byte(payload)
		l.start()
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil })
	return l
}

// SetMore sets a function that is asked for another message after each
// [Link.Wake], when there is time to write it, until it returns nil. It is called
// by one goroutine at a time. SetMore is called before the first Wake.
func (l *Link) SetMore(more func() []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.more = more
}

// Heard returns when the last message came.
func (l *Link) Heard() time.Time { return time.Unix(0, l.heard.Load()) }

// Read returns the next message or relay frame. It is valid until the next Read.
func (l *Link) Read() ([]byte, error) {
	kind, r, err := l.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.BinaryMessage {
		return nil, fmt.Errorf("%w: it is text", ErrMalformed)
	}
	buf := l.in
	n, err := fill(r, buf)
	if err == nil { // there may be more
		buf = append(make([]byte, 0, MaxMessage+1), buf...)[:MaxMessage+1]
		var m int
		m, err = fill(r, buf[n:])
		n += m
		if err == nil {
			return nil, ErrTooLarge
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	l.heard.Store(time.Now().UnixNano())
	return buf[:n], nil
}

// fill reads until buf is full, and returns io.EOF if the message ends before.
func fill(r io.Reader, buf []byte) (int, error) {
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Send queues a message and takes ownership of it.
func (l *Link) Send(msg []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return net.ErrClosed
	}
	if l.signalBytes+len(msg) > maxSignals {
		return ErrFull
	}
	l.signals = append(l.signals, msg)
	l.signalBytes += len(msg)
	l.start()
	return nil
}

// Wake makes the link ask for more messages.
func (l *Link) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut && l.more != nil {
		l.wantMore = true
		l.start()
	}
}

// Relay queues a copy of one packet of a relay session. It reports false if it
// was dropped.
func (l *Link) Relay(session uint64, packet []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 2 + relay.HeaderSize + len(packet)
	if l.shut || len(packet) > relay.MaxPacket {
		return false
	}
	if n := len(l.chunks); n == 0 || l.chunks[n-1].n+size > flushAt {
		if n >= maxChunks {
			return false
		}
		l.chunks = append(l.chunks, l.buffers.chunk())
	}
	c := l.chunks[len(l.chunks)-1]
	b := binary.BigEndian.AppendUint16(c.b[:c.n], uint16(relay.HeaderSize+len(packet)))
	c.n = len(relay.AppendFrame(b, session, packet))
	l.start()
	return true
}

// Finish makes msg, if not nil, what is queued, and a close frame the last things
// that are written, within grace: among the relay frames that wait there may be
// the goodbyes of tunnels. It does not close the connection: reads go on until
// the other end closes or grace is over, so that unread input does not destroy
// what was written last.
func (l *Link) Finish(msg []byte, closeCode int, text string, grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return
	}
	l.shut = true
	if msg != nil {
		l.signals = append(l.signals, msg)
	}
	l.last = websocket.FormatCloseMessage(closeCode, text)
	l.wantMore = false
	l.conn.finish(time.Now().Add(grace))
	l.start()
}

// Close closes the connection and returns when nothing of the link is left.
func (l *Link) Close() {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	l.conn.Close()
	l.writers.Wait()
}

// start makes sure that there is a drainer. The caller holds l.mu.
func (l *Link) start() {
	if l.draining {
		return
	}
	l.draining = true
	l.writers.Go(l.drain)
}

// KeepReading replaces the deadline that a handshake has put on reads; the zero
// time is none.
func (l *Link) KeepReading(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		l.conn.SetReadDeadline(until)
	}
}
