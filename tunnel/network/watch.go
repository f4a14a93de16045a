package network

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// settleFor is how long after an event the addresses are looked at: one change of a
	// network is many events, and an address may be of no use before the last.
	settleFor = 200 * time.Millisecond

	// lookEvery is for systems that tell no events, and for what events leave out.
	lookEvery = 10 * time.Second
)

// Watch calls changed whenever [Addresses] returns something else than before, until ctx
// is done, and returns its cause. The system may not say when; then Watch looks every 10
// s. changed must not block.
func Watch(ctx context.Context, changed func()) error {
	var listening sync.WaitGroup
	defer listening.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan struct{}, 1)
	listening.Go(func() {
		listen(ctx, func() {
			select {
			case events <- struct{}{}:
			default:
			}
		})
	})
	return watch(ctx, Addresses, events, changed)
}

// watch is Watch with its surroundings.
func watch(ctx context.Context, addresses func() ([]netip.Addr, error), events <-chan struct{}, changed func()) error {
	known, _ := addresses() // an error is told to whoever needs them
	look, settling := time.NewTimer(lookEvery), false
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-events:
			if !settling { // else events without end would put it off for ever
				look.Reset(settleFor)
			}
			settling = true
			continue
		case <-look.C:
			look.Reset(lookEvery)
			settling = false
		}
		now, err := addresses()
		if err != nil || slices.Equal(now, known) {
			continue
		}
		known = now
		changed()
	}
}
