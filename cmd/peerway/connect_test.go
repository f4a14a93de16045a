package main

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestNotice tells of what takes long, and of nothing else.
func TestNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		n := notice{tell: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }}
		n.over() // nothing was begun
		n.await("the server")
		time.Sleep(slowAfter - time.Millisecond)
		n.await("the peer")
		time.Sleep(slowAfter + time.Millisecond)
		n.await("nobody")
		n.over()
		n.over()
		time.Sleep(slowAfter + time.Millisecond)
		synctest.Wait()
		if want := []string{"Waiting for the peer …"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
