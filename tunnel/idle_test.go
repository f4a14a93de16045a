package tunnel

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLingerToTheSecond runs the clock in a bubble as a session does: a timer
// for due, then tick.
func TestLingerToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleClock{linger: 30 * time.Second, answerIn: 5 * time.Second}
		c.streams(1, time.Now())
		if at := c.due(); !at.IsZero() {
			t.Errorf("due with a live stream = %v, want never", at)
		}
		time.Sleep(time.Hour)
		start := time.Now()
		c.streams(0, start)
		<-time.After(time.Until(c.due()))
		if !c.tick(time.Now()) {
			t.Error("the other end is not asked when the linger is over")
		}
		if got, want := time.Since(start), 30*time.Second; got != want {
			t.Errorf("asked after %v, want %v", got, want)
		}
		c.answered(true, time.Now())
		if c.phase != over || c.mayOpen() {
			t.Errorf("phase after agreement = %v", c.phase)
		}
	})
}

func TestIdleClock(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	fresh := func() *idleClock {
		c := &idleClock{linger: 30 * time.Second, answerIn: 5 * time.Second}
		c.streams(0, at(0))
		return c
	}
	t.Run("a stream restarts the linger", func(t *testing.T) {
		c := fresh()
		c.streams(1, at(29))
		if c.tick(at(31)) {
			t.Error("asked with a live stream")
		}
		c.streams(0, at(40))
		if got, want := c.due(), at(70); got != want {
			t.Errorf("due = %v, want %v", got, want)
		}
		c.streams(0, at(50))
		if got, want := c.due(), at(70); got != want {
			t.Errorf("due after a repeated 0 = %v, want %v", got, want)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := fresh()
		if !c.tick(at(30)) || c.mayOpen() {
			t.Fatal("not asking at 30 s")
		}
		c.answered(false, at(31))
		if !c.mayOpen() || c.due() != at(61) {
			t.Errorf("after refusal: may open %v, due %v", c.mayOpen(), c.due())
		}
	})
	t.Run("no answer", func(t *testing.T) {
		c := fresh()
		c.tick(at(30))
		if c.tick(at(34)) || c.phase != asking {
			t.Error("over before the answer is late")
		}
		if c.tick(at(35)) || c.phase != over {
			t.Error("not over when the answer is late")
		}
	})
	t.Run("both ask at once", func(t *testing.T) {
		a, b := fresh(), fresh()
		a.tick(at(30))
		b.tick(at(30))
		if !a.asked() || !b.asked() || a.phase != over || b.phase != over {
			t.Error("two ends that both ask do not both agree")
		}
	})
	t.Run("asked while a stream is live", func(t *testing.T) {
		c := fresh()
		c.streams(1, at(1))
		if c.asked() || !c.mayOpen() {
			t.Error("agreed to close under a live stream")
		}
	})
}
