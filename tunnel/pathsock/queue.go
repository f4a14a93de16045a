package pathsock

import (
	"sync"
	"sync/atomic"
)

const (
	maxPacket = 1500 // what a relay frame may carry; no path has larger packets

	// A queue holds what arrives while the reader is busy with what came
	// before: a few milliseconds at the rate of a fast link.
	queuePerPeer = 1024
	queueTotal   = 8192
)

// A packet is one that waits for the reader: the carrier has brought it, or an outlet.
type packet struct {
	peer *Peer
	from way // of an outlet; zero: the carrier
	ecn  byte
	n    int
	data [maxPacket]byte
}

// bytes returns the packet as it came.
func (k *packet) bytes() []byte { return k.data[:k.n] }

// queue takes packets from any goroutine and gives them to the reader, in
// order, all at once.
type queue struct {
	mu      sync.Mutex
	packets []*packet
	length  atomic.Int32 // of packets, for a look without the lock
	free    sync.Pool    // of *packet
}

func (q *queue) init() { q.free.New = func() any { return new(packet) } }

func (q *queue) empty() bool { return q.length.Load() == 0 }

// push copies b, which came from somewhere, into the queue, or reports false if there is
// no room for it.
func (q *queue) push(p *Peer, b []byte, from way, ecn byte) bool {
	k := q.free.Get().(*packet)
	k.peer, k.from, k.ecn, k.n = p, from, ecn, copy(k.data[:], b)

	q.mu.Lock()
	if p.queued >= queuePerPeer || len(q.packets) >= queueTotal {
		q.mu.Unlock()
		q.release(k)
		return false
	}
	p.queued++
	q.packets = append(q.packets, k)
	q.length.Store(int32(len(q.packets)))
	q.mu.Unlock()
	return true
}

// take empties the queue into a slice of the caller's, which keeps its memory
// for the queue's next filling. The caller releases each packet.
func (q *queue) take(spare []*packet) []*packet {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.packets
	for _, k := range taken {
		k.peer.queued--
	}
	q.packets = spare[:0]
	q.length.Store(0)
	return taken
}

func (q *queue) release(k *packet) {
	k.peer = nil
	q.free.Put(k)
}
