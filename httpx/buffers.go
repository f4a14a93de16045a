package httpx

import "sync"

// An answer is copied through one buffer for as long as it lasts, which is long
// for one that waits for events: only an answer of known, large size gets a
// large buffer.
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
