package lane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	poolSize     = 4                // mixed lanes
	headerIn     = 10 * time.Second // to wait for the header of a stream
	budgetSize   = 116 << 20        // default: see NewBudget
	streamsLimit = 1024             // default, each way
	dialTries    = 3                // a lane may end just when it was chosen
)

// Config configures a [Set]. Open and Handle are required.
type Config struct {
	// Open opens a byte stream to the peer for a new lane. The set takes
	// ownership of it.
	Open func(ctx context.Context) (Conn, error)
	// Handle serves a stream that the peer has opened, in a goroutine of its
	// own. It must answer it. When it returns, the stream is closed.
	Handle func(*Stream)
	// Budget bounds what unread data may occupy. The sets of a process can share
	// one, and should. Nil means one of 64 MiB for this set alone.
	Budget *Budget
	// MaxStreams is how many streams may be open at once in each direction.
	// Zero means 1024.
	MaxStreams int
	// Changed is called after every change of the number of live streams with
	// that number, one call at a time. It must not block. It may be nil.
	Changed func(live int)
	// Log gets what is of interest when the lanes are debugged. Nil discards.
	Log *slog.Logger
}

// A Set holds the lanes of one tunnel. Its methods may be called from several
// goroutines.
type Set struct {
	cfg    Config
	budget *Budget
	share  share
	turns  turns
	writes sync.Pool // of *[]byte
	places atomic.Int64
	dialed atomic.Int64

	counting sync.Mutex // held while Changed is called
	live     atomic.Int64

	started chan struct{} // closed when Run has begun
	mu      sync.Mutex
	begin   func(*lane)                     // starts a lane in the frame of Run; nil when Run is not running
	grow    func(func(ctx context.Context)) // the same for what opens one
	ended   bool
	early   []Conn  // came before Run
	pool    []*lane // mixed, opened here
	opening int     // lanes that will be in pool
	changed chan struct{}
}

// New returns a set that serves no streams before [Set.Run].
func New(cfg Config) *Set {
	s := &Set{cfg: cfg, started: make(chan struct{}), changed: make(chan struct{})}
	if s.budget = cfg.Budget; s.budget == nil {
		s.budget = NewBudget(0)
	}
	s.writes.New = newBuffer
	return s
}

// Run serves lanes until ctx is done. Then it resets every stream and returns
// the cause of ctx. When Run returns, everything it opened is closed and every
// goroutine it started has returned, handlers included. It can run only once.
func (s *Set) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(ErrClosed)

	begin := func(l *lane) {
		lanes.Go(func() {
			err := l.run(ctx)
			s.remove(l)
			s.log().Debug("lane has ended", "class", l.class, "err", err)
		})
	}
	s.mu.Lock()
	s.begin = begin
	s.grow = func(open func(context.Context)) { lanes.Go(func() { open(ctx) }) }
	for _, conn := range s.early {
		begin(newLane(newLink(s, conn, true), Mixed))
	}
	s.early = nil
	s.mu.Unlock()
	close(s.started)

	<-ctx.Done()
	s.mu.Lock()
	s.begin, s.ended = nil, true
	s.mu.Unlock()
	return context.Cause(ctx)
}

// Serve serves a lane that the peer has opened. It takes ownership of conn and
// returns at once. A lane that comes before Run waits for it; after Run it is
// reset.
func (s *Set) Serve(conn Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		conn.Reset()
	case s.begin == nil:
		s.early = append(s.early, conn)
	default:
		s.begin(newLane(newLink(s, conn, true), Mixed))
	}
}

// Live returns how many streams are live: dialed or accepted, and neither
// closed nor reset, nor ended in both directions.
func (s *Set) Live() int { return int(s.live.Load()) }

// Dial opens a stream and sends h; it does not wait for the answer of the peer.
// The caller closes the stream. ctx bounds the opening. If the set has ended,
// the error wraps [ErrClosed]. Dial waits for Run to begin.
func (s *Set) Dial(ctx context.Context, h Header) (*Stream, error) {
	if h.Version == 0 {
		h.Version = Version
	}
	head, err := h.encode()
	if err != nil {
		return nil, err
	}
	if s.dialed.Load() >= int64(s.maxStreams()) {
		return nil, ErrBusy
	}
	for range dialTries {
		var stream *Stream
		if stream, err = s.open(ctx, h.Class); err == nil {
			stream.header = h
			if _, err = stream.f.write(ctx.Done(), head, new(deadline)); err == nil {
				return stream, nil
			}
			stream.Reset(CodeAbandoned)
		}
		if err == errGivenUp {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, ErrLost) {
			break
		}
	}
	return nil, fmt.Errorf("open a stream: %w", err)
}

// open opens a stream on a lane for the class.
func (s *Set) open(ctx context.Context, class Class) (*Stream, error) {
	select {
	case <-s.started:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l, err := s.choose(ctx, class)
	if err != nil {
		return nil, err
	}
	stream, err := l.dial()
	if err != nil {
		l.link.load.Add(-1)
		switch {
		case class == Dedicated:
			l.link.fail(err)
		case errors.Is(err, ErrLost):
			s.remove(l)
		}
	}
	return stream, err
}

// choose returns a lane, with the stream to come counted in its load.
func (s *Set) choose(ctx context.Context, class Class) (*lane, error) {
	if class == Dedicated {
		return s.openLane(ctx, class)
	}
	for {
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		if best := s.leastLoaded(); best != nil {
			if best.link.load.Add(1) > 1 && len(s.pool)+s.opening < poolSize {
				s.opening++ // for the next stream: this one does not wait for it
				s.grow(func(ctx context.Context) { s.addLane(ctx) })
			}
			s.mu.Unlock()
			return best, nil
		}
		if s.opening < poolSize {
			s.opening++
			s.mu.Unlock()
			l, err := s.addLane(ctx)
			if err == nil {
				l.link.load.Add(1)
			}
			return l, err
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// leastLoaded returns the mixed lane with the fewest streams, or nil if there
// is no lane. The caller holds s.mu.
func (s *Set) leastLoaded() (best *lane) {
	for _, l := range s.pool {
		if best == nil || l.link.load.Load() < best.link.load.Load() {
			best = l
		}
	}
	return best
}

// addLane opens a lane for the pool, which the caller has counted in opening.
func (s *Set) addLane(ctx context.Context) (*lane, error) {
	l, err := s.openLane(ctx, Mixed)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	if err == nil {
		s.pool = append(s.pool, l) // if it has ended already, the next dial notices
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return l, err
}

// openLane opens and starts a lane.
func (s *Set) openLane(ctx context.Context, class Class) (*lane, error) {
	conn, err := s.cfg.Open(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.ended:
		return nil, ErrClosed // which is why it failed
	case err != nil:
		return nil, fmt.Errorf("open a lane: %w", err)
	case s.ended:
		conn.Reset()
		return nil, ErrClosed
	}
	l := newLane(newLink(s, conn, false), class)
	s.begin(l)
	return l, nil
}

// remove takes a lane out of the pool: no stream will be opened on it.
func (s *Set) remove(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.pool, l); i >= 0 {
		s.pool = slices.Delete(s.pool, i, i+1)
	}
}

// serve reads the header of a stream that was accepted and handles it.
func (s *Set) serve(stream *Stream) {
	defer stream.Close()
	stream.SetReadDeadline(time.Now().Add(headerIn))
	header, err := readHeader(stream)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		stream.Reset(CodeSlow)
	case errors.Is(err, errVersion):
		stream.Answer(CodeUnsupported, err.Error())
	case errors.Is(err, errHeader):
		stream.Answer(CodeBadHeader, err.Error())
	case err != nil: // it has ended
	default:
		stream.SetReadDeadline(time.Time{})
		stream.accepted(header)
		s.cfg.Handle(stream)
	}
}

// readHeader reads what [Header.encode] has written.
func readHeader(r io.Reader) (Header, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return Header{}, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxHeader {
		return Header{}, fmt.Errorf("%w: %d bytes", errHeader, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return Header{}, err
	}
	return parseHeader(b)
}

// count changes the number of live streams. The caller sees to it that report
// is called, without a lock held.
func (s *Set) count(change int, dialed bool) {
	if dialed {
		s.dialed.Add(int64(change))
	}
	s.live.Add(int64(change))
}

// report tells that the number of live streams has changed. Of calls that
// overlap, the last tells the latest number.
func (s *Set) report() {
	s.counting.Lock()
	defer s.counting.Unlock()
	if s.cfg.Changed != nil {
		s.cfg.Changed(s.Live())
	}
}

// takePlace reports whether one more stream of the peer may be served. Its
// place is taken until its handler returns.
func (s *Set) takePlace() bool {
	if s.places.Add(1) <= int64(s.maxStreams()) {
		return true
	}
	s.places.Add(-1)
	return false
}

func (s *Set) leavePlace() { s.places.Add(-1) }

func (s *Set) maxStreams() int {
	if s.cfg.MaxStreams == 0 {
		return streamsLimit
	}
	return s.cfg.MaxStreams
}

func (s *Set) log() *slog.Logger {
	if s.cfg.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.cfg.Log
}
