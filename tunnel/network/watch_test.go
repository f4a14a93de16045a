package network

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"peerway/integration/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var fails bool
		now, changes := addrs("192.0.2.1"), 0
		list := func() ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			if fails {
				return nil, errors.New("not now")
			}
			return now, nil
		}
		change := func(to string, failing bool) {
			mu.Lock()
			defer mu.Unlock()
			now, fails = addrs(to), failing
		}
		changed := func() {
			mu.Lock()
			defer mu.Unlock()
			changes++
		}
		events := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- watch(ctx, list, events, changed) }()
		want := func(after time.Duration, n int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if changes != n {
				t.Errorf("%d changes, want %d", changes, n)
			}
		}
		want(time.Minute, 0)
		change("203.0.113.5", false)
		events <- struct{}{}
		want(settleFor/2, 0)
		change("198.51.100.7", false)
		events <- struct{}{} // still settling
		want(settleFor/4, 0)
		want(settleFor/2, 1)
		events <- struct{}{} // about something else
		want(time.Minute, 1)
		change("192.0.2.1", true)
		want(time.Minute, 1)
		change("192.0.2.1", false) // and nobody says so
		want(lookEvery+time.Millisecond, 2)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch() = %v", err)
		}
	})
}

// Watch must end with its context, whatever this machine has.
func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Watch(ctx, func() {}) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch() = %v", err)
	}
}
