package lane

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		var waiting sync.WaitGroup
		defer waiting.Wait()
		start := time.Now()
		waited := make(chan time.Duration, 1)
		wait := func() {
			over := d.done()
			waiting.Go(func() {
				<-over
				waited <- time.Since(start)
			})
		}
		d.set(start.Add(5 * time.Second))
		wait()
		d.set(start.Add(9 * time.Second)) // later
		d.set(time.Time{})                // never
		d.set(start.Add(7 * time.Second))
		if got := <-waited; got != 7*time.Second || !d.passed() {
			t.Errorf("over after %v", got)
		}
		d.set(time.Unix(1, 0)) // is over, stays over
		if !d.passed() {
			t.Error("a time in the past is not over")
		}
		d.set(time.Time{})
		if d.passed() {
			t.Error("over after it was cleared")
		}
		d.set(time.Now().Add(time.Second))
		wait()
		d.set(time.Unix(1, 0))
		if got := <-waited; got != 7*time.Second || !d.passed() {
			t.Errorf("over after %v", got)
		}
	})
}
