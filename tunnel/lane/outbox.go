package lane

import (
	"slices"
	"sync"
)

// Limits of what waits in a lane for the byte stream below.
const (
	// outLimit is how much data may wait while as much is being written.
	// Writers of data wait in line for room; control frames never wait.
	outLimit = 128 << 10
	// headroom is kept free before the data, for control frames that overtake it.
	headroom = 4 << 10
	// outSlack is for control frames between the data.
	outSlack = 4 << 10
	// controlLimit ends a lane whose peer causes control frames and takes none.
	controlLimit = 256 << 10
)

// An outbox holds the frames of a link that are to be written. Its methods are
// called with the mutex of the link held.
type outbox struct {
	buffers *sync.Pool    // of *[]byte with a length of headroom
	work    chan struct{} // holds a token when there is something to write

	control  []byte  // overtakes
	data     *[]byte // in order, behind headroom; nil while empty
	writing  *[]byte // was data, and is written piece by piece; nil when all of it is
	rest     []byte  // of writing
	size     int     // data in writing
	within   int     // bytes at the start of rest that belong to a frame that has begun
	spare    []byte  // was control
	reserved int     // bytes of data that were promised room and have not come
	line     []*flow // writers that wait for room
	queued   int64   // bytes of data that ever came
	written  int64   // bytes of them that were written
	closing  bool    // the write side ends when all is written
}

func newBuffer() any {
	b := make([]byte, headroom, headroom+outLimit+outSlack)
	return &b
}

// take takes room for n bytes of f's data, or puts f in line and returns 0: f
// calls again when it is notified, and gets what it waited for.
func (o *outbox) take(f *flow, n int) int {
	if f.turn > 0 {
		n, f.turn = f.turn, 0
		return n
	}
	if f.waiting {
		return 0
	}
	if len(o.line) == 0 && o.room(n) {
		o.reserved += n
		return n
	}
	f.waiting, f.want = true, n
	o.line = append(o.line, f)
	return 0
}

// withdraw undoes a take whose writer has given up.
func (o *outbox) withdraw(f *flow) {
	switch {
	case f.turn > 0:
		n := f.turn
		f.turn = 0
		o.giveBack(n)
	case f.waiting:
		f.waiting = false
		if i := slices.Index(o.line, f); i >= 0 {
			o.line = slices.Delete(o.line, i, i+1)
		}
		o.admit()
	}
}

// giveBack frees room that was taken for data that will not come.
func (o *outbox) giveBack(n int) {
	o.reserved -= n
	o.admit()
}

// admit gives the writers in line their turn while there is room.
func (o *outbox) admit() {
	for len(o.line) > 0 && o.room(o.line[0].want) {
		f := o.line[0]
		o.line = slices.Delete(o.line, 0, 1)
		o.reserved += f.want
		f.waiting, f.turn = false, f.want
		notify(f.writable)
	}
}

func (o *outbox) room(n int) bool { return o.waiting()+o.reserved+n <= outLimit }

// waiting returns how many bytes wait in order.
func (o *outbox) waiting() int {
	if o.data == nil {
		return 0
	}
	return len(*o.data) - headroom
}

// append queues a frame, or the body of one, in order.
func (o *outbox) append(b []byte) {
	if o.data == nil {
		o.data = o.buffers.Get().(*[]byte)
	}
	*o.data = append(*o.data, b...)
	o.queued += int64(len(b))
	notify(o.work)
}

// inOrder queues a frame without a body behind all data.
func (o *outbox) inOrder(f frame) {
	var b [frameSize]byte
	o.append(f.appendTo(b[:0]))
}

// urgent queues a frame without a body before all data, or behind it if the
// peer might not know the stream yet.
func (o *outbox) urgent(of *flow, f frame) {
	if of != nil && of.dialed && of.synAt > o.written {
		o.inOrder(f)
		return
	}
	o.control = f.appendTo(o.control)
	notify(o.work)
}

// flooded reports whether too many control frames wait.
func (o *outbox) flooded() bool {
	return len(o.control) > controlLimit || o.waiting() > outLimit+controlLimit
}

// next takes what is to be written now: control frames, and data up to limit
// bytes. The caller calls wrote when that is done.
func (o *outbox) next(limit int) []byte {
	if o.within == 0 && len(o.control) > 0 && (limit == 0 || len(o.rest) > 0 || len(o.control) > headroom) {
		b := o.control
		o.control, o.spare = o.spare[:0], b
		return b
	}
	if limit == 0 {
		return nil
	}
	if len(o.rest) == 0 && !o.fill() {
		return nil
	}
	n := len(o.rest)
	if limit < n {
		n = o.cut(limit)
	}
	b := o.rest[:n]
	o.rest = o.rest[n:]
	return b
}

// fill makes what waits what is written next. It reports whether there is any.
func (o *outbox) fill() bool {
	if o.data == nil {
		if len(o.control) == 0 {
			return false
		}
		o.data = o.buffers.Get().(*[]byte)
	}
	o.writing, o.size = o.data, o.waiting()
	start := headroom - len(o.control)
	copy((*o.writing)[start:], o.control)
	o.rest = (*o.writing)[start:]
	o.control, o.data = o.control[:0], nil
	o.admit()
	return true
}

// cut returns how much of rest to write when more than limit is too much.
// It keeps within.
func (o *outbox) cut(limit int) int {
	end := o.within // of a frame
	for end < limit {
		f, _ := parseFrame(o.rest[end:]) // it is ours
		end += frameSize
		if f.kind == kindData {
			end += int(f.length)
		}
	}
	o.within = end - limit
	return limit
}

// pending reports whether data, rather than control frames alone, waits.
func (o *outbox) pending() bool { return len(o.rest) > 0 || o.data != nil }

// wrote says that what next returned is written.
func (o *outbox) wrote() {
	if o.writing == nil || len(o.rest) > 0 {
		return
	}
	o.written += int64(o.size)
	if cap(*o.writing) <= 2*outLimit {
		*o.writing = (*o.writing)[:headroom]
		o.buffers.Put(o.writing)
	}
	o.writing, o.rest, o.within = nil, nil, 0
}
