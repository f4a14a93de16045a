package main

import (
	"errors"
	"testing"
	"time"
)

// TestCondition: what is known of a service, as looks and streams have it.
func TestCondition(t *testing.T) {
	full := errors.New("the camera has no session left")
	begun := time.Unix(1e9, 0)
	at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	const never = -1
	for name, test := range map[string]struct {
		does func(c *condition)
		next int // second in which something is to be done
	}{
		"it answers": {func(c *condition) {}, never},
		"no stream can be opened": {func(c *condition) {
			c.failed(at(1), checkSoon)
			c.failed(at(2), checkSoon)
		}, 3},
		"for the first time in a long while": {func(c *condition) {
			c.failed(at(100), checkSoon)
			c.failed(at(101), checkSoon)
		}, 101},
		"a second viewer finds a camera with one session in use": {func(c *condition) {
			c.opened(at(100))
			c.failed(at(200), checkSoon)
		}, never},
		"which has just begun": {func(c *condition) {
			c.opened(at(100))
			c.failed(at(101), checkSoon)
		}, 110},
		"the first viewer of two leaves in anger": {func(c *condition) {
			c.opened(at(100))
			c.opened(at(105))
			c.open--
			c.failed(at(200), checkAgain)
		}, never},
		"both do": {func(c *condition) {
			c.opened(at(100))
			c.opened(at(105))
			c.open--
			c.failed(at(200), checkAgain)
			c.open--
			c.failed(at(201), checkAgain)
		}, 202},
		"it does not answer": {func(c *condition) {
			c.found(full, at(9), at(10))
		}, 40},
		"it does not, but a stream is opened": {func(c *condition) {
			c.found(full, at(9), at(10))
			c.opened(at(12))
		}, 22},
		"which ends well soon": {func(c *condition) {
			c.found(full, at(9), at(10))
			c.opened(at(12))
			c.open--
			c.worked(at(13))
		}, 14},
		"a look says no while a stream says yes": {func(c *condition) {
			c.opened(at(1))
			c.found(full, at(9), at(12))
		}, never},
		"a stream fails during a look": {func(c *condition) {
			c.failed(at(100), checkSoon)
			c.failed(at(102), checkSoon)
			c.found(nil, at(101), at(103))
		}, 109},
	} {
		t.Run(name, func(t *testing.T) {
			c := condition{looked: at(0), seen: at(0)}
			test.does(&c)
			if next := c.next(); next.IsZero() != (test.next == never) || !next.IsZero() && next != at(test.next) {
				t.Errorf("next at %v, want %v", next.Sub(begun), test.next)
			}
		})
	}
}

// TestLooksInVain: a service of which streams fail though looks find nothing wrong is looked at
// ever less often, until a stream works.
func TestLooksInVain(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := condition{looked: now}
	looks := 0
	hour := func() {
		looks = 0
		for range 3600 {
			now = now.Add(time.Second)
			c.failed(now, checkSoon)
			if at := c.next(); !at.IsZero() && !now.Before(at) {
				c.found(nil, now, now)
				looks++
			}
		}
	}
	hour()
	if looks < 8 || looks > 16 {
		t.Errorf("%d looks in the first hour", looks)
	}
	if hour(); looks != 6 {
		t.Errorf("%d looks in the next one", looks)
	}
	c.worked(now)
	c.failed(now.Add(time.Second), checkSoon)
	if got := c.next().Sub(now); got != time.Second+checkAfter {
		t.Errorf("after a stream that worked and one that did not, a look after %v", got)
	}
}
