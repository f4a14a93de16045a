package client

import (
	"testing"
	"time"
)

// TestOutage tells of a long one twice, and of what is new.
func TestOutage(t *testing.T) {
	var o outage
	begun := time.Now()
	o.failed(begun.Add(-time.Minute), false)
	if lasted := o.over(begun); lasted != 0 {
		t.Errorf("over() = %v at first", lasted)
	}
	told := 0
	for now := begun; now.Sub(begun) < 15*time.Minute; now = now.Add(20 * time.Second) {
		if o.failed(now, false) {
			told++
		}
	}
	if told != 2 {
		t.Errorf("told %d times in a quarter of an hour", told)
	}
	if !o.failed(begun.Add(15*time.Minute), true) || o.failed(begun.Add(16*time.Minute), true) {
		t.Error("another kind of failure is not told of once")
	}
	if lasted := o.over(begun.Add(20 * time.Minute)); lasted != 20*time.Minute {
		t.Errorf("over() = %v", lasted)
	}
	if !o.failed(begun.Add(21*time.Minute), true) {
		t.Error("the next one is not told of")
	}
}
