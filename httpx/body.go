package httpx

import "io"

// A body is that of an answer on its way to the viewer. The reverse proxy reads
// it into one small buffer for as long as the answer lasts, which is long for
// one that waits for events. Whenever that buffer was filled twice running, much
// is coming, not just one event: then the body carries itself to the viewer in
// large pieces, past the proxy, until the pieces are small.
type body struct {
	io.ReadCloser
	x    *exchange
	full int // reads in a row that have filled the buffer
}

// Read implements [io.Reader]. An error may be that of the viewer's connection.
func (b *body) Read(p []byte) (n int, err error) {
	if b.full >= 2 {
		b.full = 0
		if err := b.carry(); err != nil {
			return 0, err
		}
	}
	n, err = b.ReadCloser.Read(p)
	if n == len(p) && n >= smallBuffer {
		b.full++
	} else {
		b.full = 0
	}
	return n, err
}

// carry sends what follows to the viewer while it comes in large pieces.
func (b *body) carry() error {
	large := b.x.buffers.get(true)
	defer b.x.buffers.put(large)
	for {
		n, err := b.ReadCloser.Read(large)
		if n > 0 {
			if _, err := b.x.answer.Write(large[:n]); err != nil {
				return err
			}
			if err := b.x.answer.FlushError(); err != nil {
				return err
			}
		}
		if err != nil || n < 2*smallBuffer {
			return err
		}
	}
}
