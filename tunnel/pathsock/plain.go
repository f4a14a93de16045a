package pathsock

import (
	"net"
	"time"

	"peerway/signal/datagram"
)

// plainReceiver reads one datagram per call, on every system.
type plainReceiver struct {
	socket  *Socket
	conn    *net.UDPConn
	blocked bool // the last call was free to block
	buffer  []byte
	one     [1]datagram.Datagram
}

// pollFor is how long a plainReceiver that must not block looks for a
// datagram. The net package cannot look without waiting.
const pollFor = time.Millisecond

func newPlainReceiver(s *Socket) *plainReceiver {
	return &plainReceiver{socket: s, conn: s.conn, buffer: make([]byte, 2048)}
}

func (r *plainReceiver) Receive(wait func() bool) ([]datagram.Datagram, error) {
	polling := false
	if !wait() {
		// Packets from a carrier are at hand. Only when they leave no gap at all
		// is the kernel looked at, or direct packets would never be read.
		if r.blocked {
			r.blocked = false
			return nil, nil
		}
		polling = true
		r.socket.poll(pollFor)
	} else {
		r.blocked = true
	}
	n, from, err := r.conn.ReadFromUDPAddrPort(r.buffer)
	if err != nil {
		return nil, err
	}
	if polling {
		r.socket.awoken()
	}
	r.one[0] = datagram.Datagram{Data: r.buffer[:n], From: unmap(from)}
	return r.one[:], nil
}

// poll lets the next read wait for d; awoken takes that back.
func (s *Socket) poll(d time.Duration) {
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	if until := time.Now().Add(d); s.deadline.IsZero() || until.Before(s.deadline) {
		s.conn.SetReadDeadline(until) // fails on a closed socket only
	}
}
