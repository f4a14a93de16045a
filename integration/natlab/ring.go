package natlab

// A ring is a first-in first-out queue that grows and never allocates once it
// is large enough.
type ring[T any] struct {
	slots []T // a power of two
	head  int
	size  int
}

// front returns the oldest element. There must be one.
func (r *ring[T]) front() *T { return &r.slots[r.head] }

// push adds an element and returns where it is until the next call.
func (r *ring[T]) push(v T) *T {
	if r.size == len(r.slots) {
		r.grow()
	}
	slot := &r.slots[(r.head+r.size)&(len(r.slots)-1)]
	*slot = v
	r.size++
	return slot
}

// pop removes the oldest element. There must be one.
func (r *ring[T]) pop() T {
	v := r.slots[r.head]
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.size--
	return v
}

func (r *ring[T]) grow() {
	slots := make([]T, max(64, 2*len(r.slots)))
	n := copy(slots, r.slots[r.head:])
	copy(slots[n:], r.slots[:r.head])
	r.slots, r.head = slots, 0
}
