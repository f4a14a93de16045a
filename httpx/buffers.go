package httpx

import "sync"

// Sizes of what an answer is copied through: while it waits, and while much of
// it comes. See body.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// buffers are those that no answer uses now.
type buffers struct{ small, large sync.Pool }

func (b *buffers) get(large bool) []byte {
	if large {
		if p, ok := b.large.Get().(*[largeBuffer]byte); ok {
			return p[:]
		}
		return new([largeBuffer]byte)[:]
	}
	if p, ok := b.small.Get().(*[smallBuffer]byte); ok {
		return p[:]
	}
	return new([smallBuffer]byte)[:]
}

func (b *buffers) put(p []byte) {
	if len(p) == largeBuffer {
		b.large.Put((*[largeBuffer]byte)(p))
		return
	}
	b.small.Put((*[smallBuffer]byte)(p))
}
