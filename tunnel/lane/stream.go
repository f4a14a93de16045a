package lane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// A Stream is one connection to a service of the peer, or from the peer to a
// service here. It is a [net.Conn] whose directions end separately. Whoever
// dialed it closes it; an accepted one is closed when its handler returns.
//
// All methods may be called from several goroutines.
type Stream struct {
	f      *flow
	header Header

	readUntil, writeUntil deadline
	reading, writing      chan struct{} // hold a token while someone reads, writes

	// Where the stream was dialed, guarded by reading.
	prefix   []byte        // what has arrived of the answer
	answered chan struct{} // closed when the answer is known
	refused  error         // the answer, if it refuses; read after answered is closed

	// Where it was accepted, guarded by writing.
	said bool // the answer was given
	no   bool // and refused
}

func newStream(f *flow) *Stream {
	return &Stream{
		f:        f,
		reading:  make(chan struct{}, 1),
		writing:  make(chan struct{}, 1),
		answered: make(chan struct{}),
	}
}

// accepted makes the stream known by its header. It is called before anyone
// else has the stream.
func (s *Stream) accepted(h Header) {
	s.header = h
	if h.Class == Dedicated {
		s.f.dedicate()
	}
}

// Header returns what the stream was opened with.
func (s *Stream) Header() Header { return s.header }

// Read implements [io.Reader]. Where the stream was dialed, it first waits for
// the answer of the peer; a refusal is a [*RefusedError]. It returns [io.EOF]
// only if the peer has ended its direction properly; a stream that the peer has
// given up is a [*ResetError], a lane that is gone wraps [ErrLost].
func (s *Stream) Read(p []byte) (int, error) {
	if err := acquire(nil, s.reading, &s.readUntil); err != nil {
		return 0, err
	}
	defer release(s.reading)
	if s.f.dialed {
		if err := s.readAnswer(nil); err != nil {
			return 0, err
		}
	}
	return s.f.read(nil, p, &s.readUntil)
}

// Answered waits for the answer of the peer to a stream that was dialed. It
// returns nil if the peer accepts, a [*RefusedError] if it refuses. The read
// deadline does not count, ctx does.
func (s *Stream) Answered(ctx context.Context) error {
	select {
	case s.reading <- struct{}{}:
	case <-s.answered:
		return s.refused
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer release(s.reading)
	err := s.awaitAnswer(ctx.Done(), new(deadline))
	if err == errGivenUp {
		return context.Cause(ctx)
	}
	return err
}

func (s *Stream) readAnswer(giveUp <-chan struct{}) error {
	return s.awaitAnswer(giveUp, &s.readUntil)
}

// awaitAnswer reads the answer if it is not known. What has arrived of it is
// kept when the wait ends before it is complete. The caller holds reading.
func (s *Stream) awaitAnswer(giveUp <-chan struct{}, until *deadline) error {
	for !isClosed(s.answered) {
		want := 2
		if len(s.prefix) >= 2 {
			want += int(binary.BigEndian.Uint16(s.prefix))
		}
		if want > 2+maxAnswer {
			return s.spoiled(fmt.Errorf("answer of the peer: %d bytes", want-2))
		}
		if len(s.prefix) >= 2 && len(s.prefix) == want {
			a, err := parseAnswer(s.prefix[2:])
			if err != nil {
				return s.spoiled(err)
			}
			s.settle(a)
			break
		}
		if cap(s.prefix) < want {
			s.prefix = append(make([]byte, 0, want), s.prefix...)
		}
		n, err := s.f.read(giveUp, s.prefix[len(s.prefix):want], until)
		s.prefix = s.prefix[:len(s.prefix)+n]
		if err == io.EOF {
			return fmt.Errorf("the peer ended the stream without an answer: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	return s.refused
}

func (s *Stream) settle(a answer) {
	if a.Code != 0 {
		s.refused = &RefusedError{Code: a.Code, Text: a.Text}
	}
	s.prefix = nil
	close(s.answered)
}

// spoiled gives up a stream whose answer makes no sense.
func (s *Stream) spoiled(err error) error {
	s.refused = err
	close(s.answered)
	s.Reset(CodeBadHeader)
	return err
}

// Answer accepts the stream with code 0, or refuses it with any other code and
// a text for a person. It must be called exactly once where a stream was
// accepted, before anything is written. It does not end the stream.
func (s *Stream) Answer(code uint16, text string) error {
	b, err := answer{Code: code, Text: text}.encode()
	if err != nil {
		return err
	}
	if err := acquire(nil, s.writing, &s.writeUntil); err != nil {
		return err
	}
	defer release(s.writing)
	if s.f.dialed || s.said {
		return errors.New("stream needs no answer: it was dialed here, or is answered")
	}
	s.said, s.no = true, code != 0
	_, err = s.f.write(nil, b, &s.writeUntil)
	return err
}

// Write implements [io.Writer]. Where the stream was dialed it does not wait
// for the answer, but once the peer has refused, it returns the
// [*RefusedError]. When the peer does not read any more, or has given the
// stream up, it returns a [*ResetError]. p is not kept.
func (s *Stream) Write(p []byte) (int, error) {
	if err := acquire(nil, s.writing, &s.writeUntil); err != nil {
		return 0, err
	}
	n, err := s.write(p)
	release(s.writing)
	if err != nil && s.f.dialed {
		err = s.explain(err)
	}
	return n, err
}

func (s *Stream) write(p []byte) (int, error) {
	switch {
	case s.f.dialed:
		if isClosed(s.answered) && s.refused != nil {
			return 0, s.refused
		}
	case !s.said:
		return 0, errors.New("write on a stream before its answer")
	case s.no:
		return 0, net.ErrClosed
	}
	return s.f.write(nil, p, &s.writeUntil)
}

// explain returns the refusal of the peer if that is behind err, why a write
// has failed. It does not wait long: what ended the direction to the peer came
// after all that the peer had to say.
func (s *Stream) explain(err error) error {
	_, reset := errors.AsType[*ResetError](err)
	if !reset && !errors.Is(err, ErrLost) {
		return err
	}
	if acquire(nil, s.reading, &s.writeUntil) == nil {
		defer release(s.reading)
		answer := s.awaitAnswer(nil, &s.writeUntil)
		if refused, ok := errors.AsType[*RefusedError](answer); ok {
			return refused
		}
	}
	return err
}

// CloseWrite ends the outgoing direction: the peer reads what was written, then
// [io.EOF]. The incoming direction stays as it is.
func (s *Stream) CloseWrite() error {
	f := s.f
	f.l.mu.Lock()
	f.writeClosed = true
	err := f.err
	notify(f.writable)
	f.l.unlock()
	s.writing <- struct{}{} // a Write that was waiting has been told
	defer release(s.writing)
	f.l.closeWrite(f)
	return err
}

// Close ends both directions. What was written still reaches the peer; the
// peer's writes fail unless it has ended its direction. What has not been read
// is lost. Read and Write that wait return [net.ErrClosed]. Calling Close again
// does nothing.
func (s *Stream) Close() error {
	f := s.f
	f.l.mu.Lock()
	again := f.closing
	f.closing = true
	notify(f.readable)
	notify(f.writable)
	f.l.unlock()
	if again {
		return nil
	}
	s.writing <- struct{}{} // a Write that was waiting has been told
	defer release(s.writing)
	f.l.closeWrite(f)
	f.l.close(f)
	s.SetDeadline(time.Time{}) // leave no timers
	return nil
}

// Reset gives the stream up without delay: Read and Write of the peer fail with
// a [*ResetError] of this code, those here with [net.ErrClosed]. What is on its
// way is lost. The stream needs no Close afterwards. Codes from 0xff00 are
// taken by this package.
func (s *Stream) Reset(code uint16) { s.f.l.reset(s.f, code, net.ErrClosed) }

// SetDeadline implements [net.Conn].
func (s *Stream) SetDeadline(t time.Time) error {
	s.readUntil.set(t)
	s.writeUntil.set(t)
	return nil
}

// SetReadDeadline implements [net.Conn]. A time in the past ends a Read that
// waits.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.readUntil.set(t)
	return nil
}

// SetWriteDeadline implements [net.Conn]. A time in the past ends a Write that
// waits.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.writeUntil.set(t)
	return nil
}

// LocalAddr implements [net.Conn].
func (s *Stream) LocalAddr() net.Addr { return addr(s.header.Service) }

// RemoteAddr implements [net.Conn].
func (s *Stream) RemoteAddr() net.Addr { return addr(s.header.Service) }

// addr is the service of a stream: the peer is known to who holds the stream.
type addr string

func (addr) Network() string  { return "peerway" }
func (a addr) String() string { return string(a) }

func acquire(giveUp <-chan struct{}, turn chan struct{}, until *deadline) error {
	select {
	case turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-until.done():
		return os.ErrDeadlineExceeded
	case <-giveUp:
		return errGivenUp
	}
}

func release(turn chan struct{}) { <-turn }
