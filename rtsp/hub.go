package rtsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"

	"peerway/proxy"
)

// A place is what players watch: a path and a query of a camera.
type place struct {
	target proxy.Target
	path   string // below the camera's own; empty or with a leading slash
	query  string
}

// A pull is an open stream of a camera. Whoever opened it closes it.
type pull interface {
	stream() *gortsplib.ServerStream
	gone() <-chan struct{} // closed when the camera is gone
	err() error            // why; after gone
	heard() time.Time      // when the camera sent something last
	peerHeard() time.Time  // when its peer was heard last; zero: nobody knows
	cut()                  // breaks the connection to the camera, which is dead
	close()                // returns after TEARDOWN and release
}

// A source is one pull in the life of a place. Its fields but the channels are
// guarded by the hub's lock.
type source struct {
	place   place
	reached atomic.Bool   // the peer is there, and asks the camera
	away    atomic.Bool   // the peer is not heard any more, and so is the camera
	ready   chan struct{} // closed when stream or err is set
	changed chan struct{} // buffered: life has changed
	life    life
	stream  *gortsplib.ServerStream
	err     error
	pull    pull
}

// A hub knows the sources that live. It is safe for concurrent use.
type hub struct {
	open   openFunc
	log    *slog.Logger
	starts chan *source
	closed chan struct{} // when no source will start any more

	mu      sync.Mutex
	sources map[place]*source
}

// An openFunc opens a pull. It calls reached, which does not block, when there is a
// connection to the peer.
type openFunc func(ctx context.Context, at place, reached func()) (pull, error)

func newHub(open openFunc, log *slog.Logger) *hub {
	return &hub{
		open: open, log: log,
		starts:  make(chan *source),
		closed:  make(chan struct{}),
		sources: make(map[place]*source),
	}
}

// run runs the sources that are asked for. When it returns, all of them are
// closed.
func (h *hub) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(h.closed)
	for {
		select {
		case s := <-h.starts:
			running.Go(func() { h.serve(ctx, s) })
		case <-ctx.Done():
			return
		}
	}
}

var (
	errSlow    = fmt.Errorf("the camera has not answered for %v; it is still being tried", describeWithin)
	errFar     = fmt.Errorf("there has been no connection to the peer for %v; it is still being tried", describeWithin)
	errAway    = fmt.Errorf("nothing has been heard from the peer for more than %v; it may come back", stallAfter)
	errClosing = errors.New("the gateway is shutting down")
	errBusy    = fmt.Errorf("more than %d camera streams are open", maxSources)
	errSilent  = fmt.Errorf("nothing came from the camera for %v", stallAfter)
)

// watch returns the source of a place when it is live. It starts one if there is
// none. A camera that needs longer than 4 s is an error to this viewer, and goes on to
// start for those who ask again. The source comes with its own error, which is
// logged already.
func (h *hub) watch(at place) (*source, error) {
	s, fresh, err := h.find(at)
	if err != nil {
		return nil, err
	}
	slow := time.NewTimer(describeWithin)
	defer slow.Stop()
	if fresh {
		select {
		case h.starts <- s:
		case <-h.closed:
			h.finish(s, errClosing)
			return nil, errClosing
		}
	}
	select {
	case <-s.ready:
		if s.away.Load() {
			return nil, errAway
		}
		return s, s.err
	case <-slow.C:
		if !s.reached.Load() {
			return nil, errFar
		}
		return nil, errSlow
	case <-h.closed:
		return nil, errClosing
	}
}

// find returns the source of a place, and whether it was made just now.
func (h *hub) find(at place) (_ *source, fresh bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.sources[at]; ok {
		s.life.asked(time.Now())
		s.touch()
		return s, false, nil
	}
	if len(h.sources) >= maxSources {
		return nil, false, errBusy
	}
	s := &source{place: at, ready: make(chan struct{}), changed: make(chan struct{}, 1)}
	h.sources[at] = s
	return s, true, nil
}

// join adds a player to the source of a place. It never waits.
func (h *hub) join(at place) (*source, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sources[at]
	if !ok || !s.life.joined() {
		return nil, false
	}
	s.touch()
	return s, true
}

// leave takes a player away that had joined.
func (h *hub) leave(s *source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.life.left(time.Now())
	s.touch()
}

// touch wakes the source's goroutine. The hub's lock is held.
func (s *source) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// serve is the life of a source.
func (h *hub) serve(ctx context.Context, s *source) {
	log := h.log.With("peer", s.place.target.Peer, "service", s.place.target.Service)
	started := time.Now()
	p, err := h.open(ctx, s.place, func() { s.reached.Store(true) })
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("camera cannot be opened", "dur", time.Since(started).Round(time.Millisecond), "err", err)
		}
		h.finish(s, err)
		return
	}
	defer p.close()
	h.begin(s, p)
	log.Info("camera is open", "dur", time.Since(started).Round(time.Millisecond))

	err = h.attend(ctx, s, p, log)
	h.finish(s, err) // before close: who comes now gets a new source at once
	if errors.Is(err, errSilent) {
		p.cut() // so that its peer, too, sees that this was no good end
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("camera is gone", "dur", time.Since(started).Round(time.Millisecond), "err", err)
		return
	}
	log.Info("camera is closed", "dur", time.Since(started).Round(time.Millisecond))
}

// attend waits for the end of a source: nil when nobody has watched for 30 s.
func (h *hub) attend(ctx context.Context, s *source, p pull, log *slog.Logger) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	linger := time.NewTimer(0)
	defer linger.Stop()
	var stall stall
	for {
		over, wait := h.expire(s)
		if over {
			return nil
		}
		if linger.Stop(); wait > 0 {
			linger.Reset(wait)
		}
		select {
		case <-linger.C:
		case <-s.changed:
		case now := <-look.C:
			dead, away := stall.tick(now, p.heard(), p.peerHeard)
			if dead {
				return errSilent
			}
			s.note(away, log)
		case <-p.gone():
			return p.err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// note records and logs whether the peer is away.
func (s *source) note(away bool, log *slog.Logger) {
	switch before := s.away.Swap(away); {
	case away && !before:
		log.Warn("camera stands still", "err", errAway)
	case before && !away:
		log.Info("peer is heard again")
	}
}

// begin makes a source live.
func (h *hub) begin(s *source, p pull) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.stream, s.pull = p.stream(), p
	s.life.opened(time.Now())
	close(s.ready)
}

// expire ends a source that has lingered long enough. From then on nobody finds
// it.
func (h *hub) expire(s *source) (over bool, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	over, wait = s.life.expire(time.Now())
	if over {
		h.forget(s)
	}
	return over, wait
}

// finish ends a source, and tells those who wait for it why.
func (h *hub) finish(s *source, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.life.phase == starting {
		s.err = err
		close(s.ready)
	}
	s.life.end()
	h.forget(s)
}

// forget removes a source unless another one has its place. h.mu is held.
func (h *hub) forget(s *source) {
	if h.sources[s.place] == s {
		delete(h.sources, s.place)
	}
}
