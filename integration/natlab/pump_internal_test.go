//go:build linux

package natlab

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestThreadOfAWireStays: the programs that a thread has started before it carried a wire
// outlive the wire.
func TestThreadOfAWireStays(t *testing.T) {
	var thread int
	var wire sync.WaitGroup
	wire.Go(func() {
		runtime.LockOSThread()
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 1,
		}, 0)
		defer release()
		thread = unix.Gettid()
	})
	wire.Wait()
	for begun := time.Now(); time.Since(begun) < 100*time.Millisecond; runtime.Gosched() {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread)); err != nil {
			t.Fatal("the thread has ended with the wire: ", err)
		}
	}
	if attr, err := unix.SchedGetAttr(thread, 0); err != nil || attr.Policy != unix.SCHED_NORMAL {
		t.Errorf("its scheduling: %+v, %v", attr, err)
	}
}
