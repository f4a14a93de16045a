package network

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"peerway/integration/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, fails := addrs("192.0.2.1"), false
		list := func() ([]netip.Addr, error) {
			if fails {
				return nil, errors.New("not now")
			}
			return now, nil
		}
		events, changes := make(chan struct{}, 1), 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- watch(ctx, list, events, func() { changes++ }) }()
		want := func(after time.Duration, n int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if changes != n {
				t.Errorf("%d changes, want %d", changes, n)
			}
		}
		want(time.Minute, 0)
		now = nil
		events <- struct{}{}
		want(settleFor/2, 0)
		now = addrs("198.51.100.7")
		events <- struct{}{} // still settling
		want(settleFor/4, 0)
		want(settleFor/2, 1)
		events <- struct{}{} // about something else
		want(time.Minute, 1)
		fails = true
		want(time.Minute, 1)
		fails, now = false, addrs("192.0.2.1") // and nobody says so
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
