package pathsock

import "peerway/signal/datagram"

func newReceiver(s *Socket) receiver {
	r, err := datagram.NewReceiver(s.conn)
	if err != nil {
		s.log.Debug("kernel joins no received packets", "err", err)
	}
	if r == nil { // the socket is closed, and the first read will say so
		return newPlainReceiver(s)
	}
	return r
}
