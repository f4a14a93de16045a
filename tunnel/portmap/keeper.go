package portmap

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// A keeper is a run of a [Mapper].
type keeper struct {
	*Mapper
	log *slog.Logger

	router router // the zero value: none
	told   netip.AddrPort

	// What is held; service is nil if there is nothing.
	service service
	lease   lease
	at      time.Time // of the grant

	hearing sync.WaitGroup // who hears the router's announcements
	deaf    context.CancelFunc
	heard   chan struct{} // holds one
	heardAt time.Time     // when the last one was acted upon
}

// listen has the announcements of the router heard, and no longer those of the last one.
func (k *keeper) listen(ctx context.Context) {
	k.deaf()
	here, cancel := context.WithCancel(ctx)
	k.deaf = cancel
	at := k.router
	k.hearing.Go(func() { k.hear(here, at, func() { notify(k.heard) }) })
}

// await waits for something to do, or for ctx, and returns what it is.
func (k *keeper) await(ctx context.Context, idle time.Duration) reason {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	pause := time.NewTimer(announcePause - time.Since(k.heardAt))
	defer pause.Stop()
	for listening := (<-chan struct{})(nil); ; {
		select {
		case <-ctx.Done():
			return due
		case <-k.again:
			return moved
		case <-pause.C:
			listening = k.heard
		case <-listening:
			k.heardAt = time.Now()
			return announced
		case <-timer.C:
			return due
		}
	}
}

// turn does what is to be done, and returns how long there will be nothing more.
func (k *keeper) turn(ctx context.Context, why reason) time.Duration {
	if why != moved && k.service != nil && k.refresh(ctx, why) {
		return k.idle()
	}
	before := k.router
	if k.search(ctx) {
		return k.idle()
	}
	if k.service != nil && k.router == before && time.Since(k.at) < k.life() {
		return retryIn // it may be back before the mapping is over
	}
	if k.service != nil && ctx.Err() == nil {
		k.log.Debug("router has the port no more", "remote", k.lease.external)
		k.service = nil
		k.tell()
	}
	return searchEvery
}

// idle returns how long the router can be left alone.
func (k *keeper) idle() time.Duration {
	return min(k.config.Check, max(shortest, k.life()/2-time.Since(k.at)))
}

// life is what was granted. A permanent mapping counts as one of the usual life, so that
// one on a router that is gone is not believed for ever.
func (k *keeper) life() time.Duration {
	if k.lease.life == 0 {
		return askLife
	}
	return k.lease.life
}

// refresh makes sure that the router has the mapping, and reports whether it does.
func (k *keeper) refresh(ctx context.Context, why reason) bool {
	asking, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	// To renew costs no more than to ask for the clock, by which a router that has
	// restarted soon after it was switched on cannot be told from one that has not.
	if why != announced {
		err := k.service.check(asking, k.lease)
		if err == nil && time.Since(k.at) < k.life()/2 {
			return true
		}
		if err != nil {
			k.log.Debug("router has not confirmed the port", "path", k.service.protocol(), "err", err)
		}
	}
	granted, err := k.service.lease(asking, k.wish())
	if err != nil {
		k.log.Debug("router has not renewed the port", "path", k.service.protocol(), "err", err)
		return false
	}
	k.hold(k.service, granted)
	return true
}

// wish is what to ask for: if possible the port that others know.
func (k *keeper) wish() wish {
	w := wish{port: k.config.Port, external: k.lease.external, life: askLife}
	if w.external.Port() == 0 {
		w.external = netip.AddrPortFrom(w.external.Addr(), w.port)
	}
	return w
}

// hold takes what a router granted.
func (k *keeper) hold(s service, granted lease) {
	k.service, k.lease, k.at = s, granted, time.Now()
	k.tell()
}

// tell says which address there is, if that is news.
func (k *keeper) tell() {
	var now netip.AddrPort
	if k.service != nil && isPublic(k.lease.external.Addr()) {
		now = k.lease.external
	}
	if now == k.told {
		return
	}
	k.told = now
	if now.IsValid() {
		k.log.Debug("router has opened the port", "remote", now, "path", k.service.protocol())
	}
	k.config.Changed(now)
}

// search looks for the router and asks for a mapping. It reports whether it got one, which
// then is held.
func (k *keeper) search(ctx context.Context) bool {
	r, err := k.look()
	if err != nil {
		k.log.Debug("no router", "err", err)
		k.router = router{}
		return false
	}
	k.router = r
	before, held := k.service, k.lease
	s, granted := choose(ctx, k.find(r, k.config.Seed), k.ask)
	if s == nil || ctx.Err() != nil {
		return k.abandon(ctx, s, granted)
	}
	k.hold(s, granted)
	if before != nil && before.protocol() == UPnP && held.external.Port() != granted.external.Port() {
		// It may be permanent. What the others would delete is the new one.
		k.release(ctx, before, held)
	}
	return true
}

// abandon gives back what came when nobody wanted it any more.
func (k *keeper) abandon(ctx context.Context, s service, granted lease) bool {
	if s != nil {
		k.release(ctx, s, granted)
	}
	return false
}

// ask asks for a mapping. One that may have been made without our hearing of it is deleted.
func (k *keeper) ask(ctx context.Context, s service) (lease, error) {
	asking, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	granted, err := obtain(asking, s, k.wish())
	if err == nil {
		return granted, nil
	}
	k.log.Debug("router has not opened the port", "path", s.protocol(), "err", err)
	if _, refused := errors.AsType[refusal](err); !refused && k.service == nil {
		k.release(ctx, s, granted)
	}
	return granted, err
}

// release deletes a mapping, also when ctx is done.
func (k *keeper) release(ctx context.Context, s service, l lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseIn)
	defer cancel()
	if err := s.release(ctx, l); err != nil {
		k.log.Debug("router has not closed the port", "path", s.protocol(), "err", err)
	}
}

// end deletes what is held.
func (k *keeper) end(ctx context.Context) {
	if k.service != nil {
		k.release(ctx, k.service, k.lease)
	}
}
