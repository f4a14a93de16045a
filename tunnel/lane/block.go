package lane

import "sync"

// Sizes of blocks: for a small message, and for more.
const (
	smallBlock = 4 << 10
	bigBlock   = 32 << 10
)

// A block is a piece of the unread data of a stream.
type block struct {
	next       *block
	start, end int // of what is unread
	data       []byte
}

// blocks keeps blocks that are not needed for those who need some.
type blocks struct {
	small, big sync.Pool // of *block
}

func (b *blocks) get(small bool) *block {
	pool, size := &b.big, bigBlock
	if small {
		pool, size = &b.small, smallBlock
	}
	if x, ok := pool.Get().(*block); ok {
		return x
	}
	return &block{data: make([]byte, size)}
}

func (b *blocks) put(x *block) {
	x.next, x.start, x.end = nil, 0, 0
	if len(x.data) == smallBlock {
		b.small.Put(x)
	} else {
		b.big.Put(x)
	}
}

// A backlog is the unread data of a stream. One goroutine fills it and one
// drains it; the mutex of the link guards it, but not what they copy meanwhile.
type backlog struct {
	head, tail *block
	filling    bool // the end of tail is being written to
}

// room returns where the next bytes go, nil if there is no room.
func (b *backlog) room() []byte {
	if b.tail == nil {
		return nil
	}
	return b.tail.data[b.tail.end:]
}

func (b *backlog) add(x *block) {
	if b.tail == nil {
		b.head = x
	} else {
		b.tail.next = x
	}
	b.tail = x
}

// first returns the first bytes that are unread.
func (b *backlog) first() []byte {
	if b.head == nil {
		return nil
	}
	return b.head.data[b.head.start:b.head.end]
}

// skip says that the first n bytes are read. It returns the block that is not
// needed any more, if there is one.
func (b *backlog) skip(n int) *block {
	x := b.head
	if x == nil {
		return nil // the stream has ended meanwhile
	}
	x.start += n
	if x.start < x.end || x == b.tail && b.filling {
		return nil
	}
	if b.head = x.next; b.head == nil {
		b.tail = nil
	}
	return x
}

// filled says that n bytes were written to the end of tail. It returns the block
// if it is not needed: nothing came, and all before is read.
func (b *backlog) filled(n int) *block {
	b.filling = false
	if b.tail == nil {
		return nil // the stream has ended meanwhile
	}
	b.tail.end += n
	if b.head == b.tail && b.head.start == b.head.end {
		x := b.head
		b.head, b.tail = nil, nil
		return x
	}
	return nil
}
