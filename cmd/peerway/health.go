package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"peerway/proxy"
	"peerway/proxy/export"
)

const (
	checkWithin = 5 * time.Second  // one look at a service
	checkAgain  = 30 * time.Second // between two of them
	checkSoon   = 3 * time.Second  // the same, where no stream could be opened
)

// A health knows which of the services that this peer exposes answer. It looks at each in the
// beginning, when a stream to it has failed, and each 30 s until it answers. One that works is
// left alone, for a look may take one of the few sessions that a camera has. It is safe for
// concurrent use.
type health struct {
	services []service
	log      *slog.Logger
	tried    chan struct{} // closed after the first look at each

	mu     sync.Mutex
	states []condition   // of services
	doubt  chan struct{} // holds a token when a stream has failed
}

// A condition is what is known of a service.
type condition struct {
	err    error     // why it does not answer; nil: it does
	looked time.Time // at it; zero: never
	seen   time.Time // that it was as err says
	again  time.Time // to be looked at; zero: no need
}

// A serviceReport is a service of this peer as status tells it.
type serviceReport struct {
	Name    string `json:"name"`
	Answers bool   `json:"answers"`
	Why     string `json:"why,omitempty"`   // it does not, for people
	Age     *int64 `json:"age_s,omitempty"` // since that was seen last; missing: it was not tried yet
}

// newHealth returns the health of services, at which nobody has looked.
func newHealth(services []service, log *slog.Logger) *health {
	return &health{
		services: services, log: log, tried: make(chan struct{}),
		states: make([]condition, len(services)), doubt: make(chan struct{}, 1),
	}
}

// Run looks at services, and logs which do not answer, and which do again, until ctx is done.
func (h *health) Run(ctx context.Context) error {
	all := make([]int, len(h.services))
	for i := range all {
		all[i] = i
	}
	slow := time.AfterFunc(slowAfter, h.awaited)
	h.look(ctx, all)
	slow.Stop()
	close(h.tried)
	for ctx.Err() == nil {
		due, next := h.due(time.Now())
		h.look(ctx, due)
		if len(due) == 0 {
			h.await(ctx, next)
		}
	}
	return context.Cause(ctx)
}

// awaited says which services have not answered yet.
func (h *health) awaited() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.states {
		if c.looked.IsZero() {
			h.log.Info("waiting for a service", "service", h.services[i].Name)
		}
	}
}

// due returns the services to look at now, or when the next one is, if any is.
func (h *health) due(now time.Time) (due []int, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.states {
		switch {
		case c.again.IsZero():
		case !now.Before(c.again):
			due = append(due, i)
		case next.IsZero() || c.again.Before(next):
			next = c.again
		}
	}
	return due, next
}

// await waits until then, if that is a time, or until a stream has failed.
func (h *health) await(ctx context.Context, then time.Time) {
	var due <-chan time.Time
	if !then.IsZero() {
		timer := time.NewTimer(time.Until(then))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-h.doubt:
	case <-ctx.Done():
	}
}

// look looks at some services at once.
func (h *health) look(ctx context.Context, at []int) {
	within, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	var looks sync.WaitGroup
	defer looks.Wait()
	for _, i := range at {
		looks.Go(func() {
			err := h.services[i].backend.Check(within)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("no answer within %v", checkWithin)
			}
			if ctx.Err() == nil {
				h.found(i, err, time.Now())
			}
		})
	}
}

// found takes what came of a look.
func (h *health) found(i int, err error, now time.Time) {
	state := condition{err: err, looked: now, seen: now}
	if err != nil {
		state.again = now.Add(checkAgain)
	}
	h.mu.Lock()
	before := h.states[i]
	h.states[i] = state
	h.mu.Unlock()
	name, first := h.services[i].Name, before.looked.IsZero()
	switch {
	case err == nil && first:
		h.log.Info("service answers", "service", name)
	case err == nil && before.err != nil:
		h.log.Info("service answers now", "service", name)
	case err != nil && before.err == nil:
		h.log.Warn("service does not answer", "service", name, "err", err)
	}
}

// worked records that a stream to a service came to a good end.
func (h *health) worked(i int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := &h.states[i]; c.err == nil {
		c.seen = time.Now()
	}
}

// failed records that a stream to a service did not, which may be the viewer's business: a look
// will tell, pause after the last one.
func (h *health) failed(i int, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &h.states[i]
	at := c.looked.Add(pause)
	if c.err != nil || !c.again.IsZero() && !at.Before(c.again) {
		return
	}
	c.again = at
	select {
	case h.doubt <- struct{}{}:
	default:
	}
}

// silent reports whether each service was looked at, and none answers.
func (h *health) silent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.states {
		if c.err == nil {
			return false
		}
	}
	return len(h.states) > 0
}

// report describes the services as of now.
func (h *health) report(now time.Time) []serviceReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []serviceReport
	for i, c := range h.states {
		r := serviceReport{Name: h.services[i].Name, Answers: c.err == nil && !c.looked.IsZero()}
		if c.err != nil {
			r.Why = c.err.Error()
		}
		if !c.looked.IsZero() {
			age := int64(now.Sub(c.seen) / time.Second)
			r.Age = &age
		}
		all = append(all, r)
	}
	return all
}

// backends returns the services as an exporter wants them. What becomes of streams is noted.
func (h *health) backends() map[string]export.Backend {
	byName := make(map[string]export.Backend, len(h.services))
	for i, s := range h.services {
		byName[s.Name] = watched{s.backend, h, i}
	}
	return byName
}

// A watched is a backend that says what becomes of streams to it.
type watched struct {
	export.Backend
	health *health
	index  int // of the service
}

// Dial implements [export.Backend].
func (w watched) Dial(ctx context.Context) (export.Upstream, error) {
	up, err := w.Backend.Dial(ctx)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // by who wanted the stream
			w.health.failed(w.index, checkSoon)
		}
		return nil, err
	}
	return watchedUpstream{up, w}, nil
}

// A watchedUpstream is a connection of a watched backend.
type watchedUpstream struct {
	export.Upstream
	backend watched
}

// Splice implements [export.Upstream].
func (w watchedUpstream) Splice(ctx context.Context, stream proxy.Conn) error {
	err := w.Upstream.Splice(ctx, stream)
	switch h := w.backend.health; {
	case err == nil:
		h.worked(w.backend.index)
	case ctx.Err() == nil:
		h.failed(w.backend.index, checkAgain)
	}
	return err
}
