package client

import (
	"context"
	"time"
)

// Trouble is why there is no connection.
type Trouble struct {
	Err  error     // nil: there is one, or nobody knows yet
	At   time.Time // of Err
	Next time.Time // of the next attempt; zero: it is under way
}

// Trouble returns why there is no connection.
func (c *Client) Trouble() Trouble {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// setTrouble says that there is no connection, and why.
func (c *Client) setTrouble(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = Trouble{Err: err, At: time.Now()}
	c.tell(false)
}

// tell tells those who wait for a connection. The caller holds c.mu.
func (c *Client) tell(online bool) {
	c.online = online
	close(c.changed)
	c.changed = make(chan struct{})
}

// wantedPause is how long there is no attempt, after one that failed, for who misses the
// connection.
const wantedPause = time.Second

// Await waits until there is a connection, an attempt to make one has failed, or ctx is done,
// and reports whether there is one. The next attempt is not waited for longer than a second,
// unless the server asked for that.
func (c *Client) Await(ctx context.Context) (online bool) {
	c.mu.Lock()
	changed := c.changed
	if online = c.online; !online {
		c.miss()
	}
	c.mu.Unlock()
	if online {
		return true
	}
	select {
	case <-changed:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.online
}

// miss says that somebody has missed the connection.
func (c *Client) miss() {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// wait waits for d, or until the network has changed; if it is not patient, no longer than
// a moment for who misses the connection.
func (c *Client) wait(ctx context.Context, d time.Duration, patient bool) (hurried bool, err error) {
	begun := time.Now()
	c.setNext(begun.Add(d))
	defer c.setNext(time.Time{})
	timer := time.NewTimer(d)
	defer timer.Stop()
	wanted := c.wanted
	if patient || d <= wantedPause {
		wanted = nil
	}
	for {
		select {
		case <-timer.C:
			return false, nil
		case <-wanted:
			wanted = nil
			c.setNext(begun.Add(wantedPause))
			timer.Reset(time.Until(begun.Add(wantedPause)))
		case <-c.hurry:
			return true, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// setNext says when the next attempt is.
func (c *Client) setNext(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble.Next = at
}
