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

// checkWithin bounds a look at a service.
const checkWithin = 5 * time.Second

// A health knows which of the services that this peer exposes answer. It looks at each in the
// beginning, when a stream to it has failed, and each 30 s until it answers. It is safe for
// concurrent use.
type health struct {
	services []service
	log      *slog.Logger
	tried    chan struct{} // closed after the first look at each

	mu     sync.Mutex
	states []condition   // of services
	news   chan struct{} // holds a token when a stream has changed one
}

// A serviceReport is a service of this peer as status tells it.
type serviceReport struct {
	Name    string `json:"name"`
	Answers bool   `json:"answers"`
	Why     string `json:"why,omitempty"`     // it does not, for people
	Age     *int64 `json:"age_s,omitempty"`   // since that was seen last; missing: it was not tried yet
	Streams int    `json:"streams,omitempty"` // that are open
}

// newHealth returns the health of services, at which nobody has looked.
func newHealth(services []service, log *slog.Logger) *health {
	return &health{
		services: services, log: log, tried: make(chan struct{}),
		states: make([]condition, len(services)), news: make(chan struct{}, 1),
	}
}

// Run looks at services, and logs which do not answer, and which do again, until ctx is done.
func (h *health) Run(ctx context.Context) error {
	all := make([]int, len(h.services))
	for i := range all {
		all[i] = i
	}
	h.lookFirst(ctx, all)
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

// lookFirst looks at all services, and says what is waited for.
func (h *health) lookFirst(ctx context.Context, all []int) {
	looking, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	waiting.Go(func() {
		if pause(looking, slowAfter); looking.Err() == nil {
			h.awaited()
		}
	})
	h.look(ctx, all)
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

// due returns the services to look at now, or when there is something to do next, if ever.
func (h *health) due(now time.Time) (due []int, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.states {
		c := &h.states[i]
		at := c.next()
		switch {
		case at.IsZero():
		case now.Before(at):
			if next.IsZero() || at.Before(next) {
				next = at
			}
		case c.isProven(now):
			if c.err != nil {
				h.log.Info("service answers now", "service", h.services[i].Name)
			}
			c.prove(now)
		default:
			due = append(due, i)
		}
	}
	return due, next
}

// await waits until then, if that is a time, or until a stream has changed something.
func (h *health) await(ctx context.Context, then time.Time) {
	var due <-chan time.Time
	if !then.IsZero() {
		timer := time.NewTimer(time.Until(then))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-h.news:
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
			began := time.Now()
			err := h.services[i].backend.Check(within)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("no answer within %v", checkWithin)
			}
			if ctx.Err() == nil {
				h.found(i, err, began)
			}
		})
	}
}

// found takes what came of a look that began then.
func (h *health) found(i int, err error, began time.Time) {
	h.mu.Lock()
	before := h.states[i]
	h.states[i].found(err, began, time.Now())
	err = h.states[i].err
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

// change changes what is known of a service, as a stream has it.
func (h *health) change(i int, f func(c *condition, now time.Time)) {
	h.mu.Lock()
	f(&h.states[i], time.Now())
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
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
		r := serviceReport{Name: h.services[i].Name, Answers: c.err == nil && !c.looked.IsZero(), Streams: c.open}
		if c.err != nil {
			r.Why = c.err.Error()
		}
		if !c.looked.IsZero() {
			age := int64(now.Sub(c.seen) / time.Second)
			if r.Answers && c.open > 0 {
				age = 0
			}
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
	switch {
	case err == nil:
		w.health.change(w.index, (*condition).opened)
		return &watchedUpstream{Upstream: up, backend: w}, nil
	case !errors.Is(ctx.Err(), context.Canceled): // by who wanted the stream
		w.health.change(w.index, func(c *condition, now time.Time) { c.failed(now, checkSoon) })
	}
	return nil, err
}

// A watchedUpstream is a connection of a watched backend.
type watchedUpstream struct {
	export.Upstream
	backend watched
	became  func(c *condition, now time.Time) // of its stream; nil: it was not even accepted
}

// Splice implements [export.Upstream].
func (w *watchedUpstream) Splice(ctx context.Context, stream proxy.Conn) error {
	err := w.Upstream.Splice(ctx, stream)
	switch {
	case err == nil:
		w.became = (*condition).worked
	case ctx.Err() == nil:
		w.became = func(c *condition, now time.Time) { c.failed(now, checkAgain) }
	}
	return err
}

// Close implements [export.Upstream]. Not before may there be a look.
func (w *watchedUpstream) Close() error {
	err := w.Upstream.Close()
	w.backend.health.change(w.backend.index, func(c *condition, now time.Time) {
		if c.open--; w.became != nil {
			w.became(c, now)
		}
	})
	return err
}
