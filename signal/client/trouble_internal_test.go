package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"peerway/signal"
)

// TestMissed: who misses the connection shortens a long wait, but not that of a server that
// asked for it, and not to nothing.
func TestMissed(t *testing.T) {
	for _, test := range []struct {
		wait    time.Duration
		patient bool
		want    time.Duration
	}{
		{30 * time.Second, false, wantedPause},
		{30 * time.Second, true, 30 * time.Second},
		{wantedPause / 2, false, wantedPause / 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, begun := New(Config{}), time.Now()
			c.miss()
			if hurried, err := c.wait(t.Context(), test.wait, test.patient); hurried || err != nil || time.Since(begun) != test.want {
				t.Errorf("%+v: %v, %v after %v", test, hurried, err, time.Since(begun))
			}
		})
	}
}

// TestAwaitFails: who waits hears of the next attempt that fails, soon, and when there will
// be another.
func TestAwaitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		c := New(Config{
			URL: signal.URL{Addr: "203.0.113.10:7443", Pin: signal.Pin{1}}, Identity: signal.NewIdentity(), Name: "home", Handler: nobody{},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, down },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(10 * time.Minute) // virtual
		for range 5 {
			begun := time.Now()
			if online := c.Await(t.Context()); online || time.Since(begun) > wantedPause {
				t.Errorf("Await = %v after %v", online, time.Since(begun))
			}
			synctest.Wait()
			if trouble := c.Trouble(); !errors.Is(trouble.Err, down) || !trouble.At.Equal(time.Now()) || !trouble.Next.After(time.Now()) {
				t.Errorf("at %v trouble is %+v", time.Now(), trouble)
			}
		}
		cancel()
		<-done
	})
}
