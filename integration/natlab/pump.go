//go:build linux

package natlab

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// offload is what the kernel need not do before a wire reads: checksums, and
	// cutting what is UDP, or TCP over IPv4.
	offload = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_USO4 | unix.TUN_F_USO6

	// grain is the least time between two looks at the devices while much passes:
	// what a frame may be late, against what it costs to wake up.
	grain = 200 * time.Microsecond

	// doze is the longest wait that the scheduler of Go is not told of. Telling it
	// costs two thirds of a wake-up, and not telling it one of its processors.
	doze = time.Millisecond

	// turn is how many reads or writes it makes for one direction before the other
	// has its turn.
	turn = 64
)

// A direction carries frames from one device to another.
type direction struct {
	line     line
	pool     pool
	from, to int // file descriptors
	headers  [virtioSize + headersMost]byte
	parts    [2]unix.Iovec
}

// release gives the thread of a wire back. It must not end with the goroutine: it may have
// started programs before, also those of other labs, which the kernel would kill, since they
// are to die with their parent; and that is a thread (prctl(2), PR_SET_PDEATHSIG).
func release() {
	if unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0) == nil {
		runtime.UnlockOSThread()
	}
}

// carry is the life of a wire: one thread carries both directions, so that a
// frame costs no hand-over. It reads and writes all that there is, waits for the
// kernel or for what is due next, and, while it has often something to do, sleeps
// in between to have more to do at a time.
//
// It keeps one processor of Go's scheduler to itself, which start adds, and goes
// before all programs without real-time priority: a network does not become
// slower because the machines on it are busy.
func (w *Wire) carry() {
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 1,
	}, 0) // where that is forbidden, frames are late more often
	defer release()
	var s sleeper
	s.ready = [...]unix.PollFd{
		{Fd: int32(w.plugs[0].tap), Events: unix.POLLIN},
		{Fd: int32(w.plugs[1].tap), Events: unix.POLLIN},
		{Fd: int32(w.wake), Events: unix.POLLIN},
	}
	last := -time.Hour // when there was something to do
	for {
		r := w.round()
		switch {
		case r.closed:
			return
		case r.more: // at once
		case r.busy && r.begun-last < 2*grain:
			s.nap(grain)
		default:
			s.wait(r.left)
		}
		if r.busy {
			last = r.begun
		}
	}
}

// A sleeper waits in system calls. It is a value of its own so that its
// arguments need not be allocated.
type sleeper struct {
	ready [3]unix.PollFd // the last one is an eventfd
	time  unix.Timespec
	bell  [8]byte
}

// nap waits for a short time.
func (s *sleeper) nap(d time.Duration) {
	s.time = unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&s.time)), 0, 0)
}

// wait waits until something can be read, or that long, or not quite.
func (s *sleeper) wait(d time.Duration) {
	s.time = unix.NsecToTimespec(int64(d))
	if d > doze {
		_, _ = unix.Ppoll(s.ready[:], &s.time, nil)
	} else {
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&s.ready[0])), uintptr(len(s.ready)), uintptr(unsafe.Pointer(&s.time)), 0, 0, 0)
	}
	if s.ready[2].Revents != 0 {
		_, _ = unix.Read(int(s.ready[2].Fd), s.bell[:])
	}
}

// A round is what was done, and is to be done, at one time.
type round struct {
	begun  time.Duration
	busy   bool          // something was done
	more   bool          // it stopped before the end
	left   time.Duration // otherwise, nothing is due for so long
	closed bool
}

// round does what there is to do now.
func (w *Wire) round() (r round) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r = round{begun: time.Since(w.begun), left: time.Hour, closed: w.closed}
	for i := range w.directions {
		d := &w.directions[i]
		now := time.Since(w.begun)
		read := d.read(now)
		d.line.advance(now)
		wrote := d.write(now)
		r.busy = r.busy || read > 0 || wrote > 0
		r.more = r.more || read == turn || wrote == turn
	}
	now := time.Since(w.begun)
	for i := range w.directions {
		if at, ok := w.directions[i].line.next(); ok {
			r.left = min(r.left, max(at-now, 0))
		}
	}
	return r
}

// read takes in what the device has, and returns how many reads that took.
func (d *direction) read(now time.Duration) int {
	for n := range turn {
		room, ok := d.pool.room()
		size, _, failed := unix.RawSyscall(unix.SYS_READ, uintptr(d.from), uintptr(unsafe.Pointer(&room[0])), uintptr(len(room)))
		if failed != 0 {
			return n // nothing more, or the device is down
		}
		bytes := int(size)
		how, known := cutting(room[:bytes])
		if !ok || !known {
			d.line.count.Failed++
			continue
		}
		l := d.pool.take(bytes, how)
		for l.index = range how.frames {
			if !d.line.enter(now, frame{load: l, size: l.size()}) {
				d.pool.release(l.chunk, 1)
			}
		}
	}
	return turn
}

// write lets out what is due, and returns how many writes that took.
func (d *direction) write(now time.Duration) int {
	for n := range turn {
		first := d.line.due(now)
		if first == nil {
			return n
		}
		head, last := first.load, first.load
		count := 0
		for f := first; f != nil && (count == 0 || last.precedes(&f.load)); f = d.line.due(now) {
			last = f.load
			count++
			d.line.arrive(now)
		}
		d.put(head.join(count, d.headers[:]))
		d.pool.release(head.chunk, count)
	}
	return turn
}

// put writes two parts as one. A device that is down loses them.
func (d *direction) put(headers, payload []byte) {
	parts := uintptr(1)
	d.parts[0].Base = &headers[0]
	d.parts[0].SetLen(len(headers))
	if len(payload) > 0 {
		parts = 2
		d.parts[1].Base = &payload[0]
		d.parts[1].SetLen(len(payload))
	}
	_, _, _ = unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.to), uintptr(unsafe.Pointer(&d.parts[0])), parts)
}
