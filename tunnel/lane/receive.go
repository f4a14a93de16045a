package lane

import (
	"fmt"
	"io"
	"time"
)

// maxSendWindow is more than any honest peer grants.
const maxSendWindow = longestBody

// violation returns the error of a lane whose peer has sent f.
func violation(f frame, what string) error {
	return fmt.Errorf("%w: %s (kind %d, flags %#x, stream %d, length %d)", errProtocol, what, f.kind, f.flags, f.id, f.length)
}

// receive handles a frame of the peer, whose body is still to come. An error
// ends the lane.
func (l *link) receive(f frame) error {
	switch f.kind {
	case kindData:
		return l.receiveData(f)
	case kindWindow:
		return l.receiveWindow(f)
	case kindGoAway:
		return fmt.Errorf("the peer has given the lane up: %w", io.ErrUnexpectedEOF)
	}
	return violation(f, "unexpected frame")
}

func (l *link) receiveData(f frame) error {
	if f.flags != 0 {
		return violation(f, "flags on data")
	}
	l.in.left, l.in.id = f.length, f.id
	l.mu.Lock()
	defer l.unlock()
	of := l.flows[f.id]
	if of == nil {
		if f.length > longestBody {
			return violation(f, "more data than any window")
		}
		return nil // it was on its way when the stream ended here
	}
	if of.finReceived {
		return violation(f, "data after the end")
	}
	if int64(f.length) > of.recvWindow {
		return violation(f, "more data than granted")
	}
	of.recvWindow -= int64(f.length)
	return nil
}

// deliver takes in what comes of the body of a data frame. It waits for more if
// nothing has.
func (l *link) deliver() error {
	in := &l.in
	of, p := l.room()
	if of == nil { // nobody wants it
		if in.buffered() == 0 {
			return l.fill()
		}
		n := min(int(in.left), in.buffered())
		in.start += n
		in.left -= uint32(n)
		return nil
	}
	p = p[:min(len(p), int(in.left))]
	n, err := 0, error(nil)
	if in.buffered() > 0 {
		n = copy(p, in.buf[in.start:in.end])
		in.start += n
	} else {
		n, err = l.pull(p)
	}
	in.left -= uint32(n)
	l.landed(of, n)
	return err
}

// room returns the stream of the data frame that is coming in, and where to put
// its body; nil if the stream has ended. The caller calls landed.
func (l *link) room() (*flow, []byte) {
	in := &l.in
	l.mu.Lock()
	of := l.flows[in.id]
	if of == nil {
		l.unlock()
		return nil, nil
	}
	var evict []*flow
	p := of.backlog.room()
	if len(p) == 0 {
		var x *block
		small := of.backlog.tail == nil && in.left <= smallBlock
		if x, evict = l.budget.get(&of.account, small, time.Now()); x != nil {
			of.backlog.add(x)
			p = x.data
		}
	}
	of.backlog.filling = true
	l.unlock()
	for _, worst := range evict {
		worst.l.reset(worst, CodeSlow, &ResetError{Code: CodeSlow, Local: true})
		if worst == of {
			p = nil
		}
	}
	if p == nil {
		return nil, nil
	}
	return of, p
}

// landed says that n bytes were put where room said.
func (l *link) landed(of *flow, n int) {
	l.mu.Lock()
	defer l.unlock()
	if of.err != nil {
		return
	}
	if x := of.backlog.filled(n); x != nil {
		l.budget.put(&of.account, x)
	}
	if n > 0 {
		of.unread += int64(n)
		of.account.received(n, time.Now())
		notify(of.readable)
	}
}

// receiveWindow handles a window update, which is also what carries flags.
func (l *link) receiveWindow(f frame) error {
	l.mu.Lock()
	defer l.unlock()
	if f.flags&flagSYN != 0 {
		if err := l.receiveSYN(f); err != nil {
			return err
		}
	}
	of := l.flows[f.id]
	if of == nil {
		return nil
	}
	pass := f.flags & flagSYN
	if f.flags&flagACK != 0 && of.dialed && !of.acked {
		of.acked = true
		pass |= flagACK
	}
	switch {
	case f.flags&flagRST != 0:
		if of.dialed && !of.acked {
			pass |= flagACK // see discard
		}
		l.in.emit(frame{kind: kindWindow, flags: pass | flagRST, id: f.id})
		delete(l.flows, f.id)
		l.out.withdraw(of)
		of.finish(&ResetError{Code: uint16(f.length)})
		return nil
	case f.flags&flagStop != 0:
		if !of.finReceived {
			return violation(f, "stop before the end")
		}
		of.stopped = true
		notify(of.writable)
		f.length = 0
	}
	if f.flags&flagFIN != 0 {
		if of.finReceived {
			return violation(f, "a second end")
		}
		pass |= flagFIN
		of.finReceived = true
		notify(of.readable)
		l.forgetIfDone(of)
	}
	if f.flags&flagFull != 0 {
		of.full(f.length)
		f.length = 0
	}
	if !of.allow(f.length) {
		return violation(f, "too much window")
	}
	if pass != 0 || f.length > 0 {
		l.in.emit(frame{kind: kindWindow, flags: pass, id: f.id, length: f.length})
	}
	return nil
}

// receiveSYN makes a stream that the peer opens, or refuses it when too many
// are open.
func (l *link) receiveSYN(f frame) error {
	// The peer is the client of the session: its streams have odd numbers.
	if !l.accepts || f.id%2 == 0 || f.id <= l.lastID {
		return violation(f, "stream that may not be opened")
	}
	l.lastID = f.id
	if !l.set.takePlace() {
		l.out.inOrder(frame{kind: kindWindow, flags: flagRST, id: f.id, length: uint32(CodeBusy)})
		return nil
	}
	l.flows[f.id] = newFlow(l, f.id, false, &l.set.share)
	return nil
}
