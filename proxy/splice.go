package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// The buffer of a direction has one of two sizes: a connection that waits for a
// person holds a page, a download what a stream of the tunnel carries in one
// frame. Larger ones are no faster there, and a peer with hundreds of downloads
// that nobody reads holds one for each.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// A Splicer joins connections and keeps the buffers that they no longer need
// for those that do. The zero Splicer is ready. It is safe for concurrent use.
type Splicer struct {
	large sync.Pool // of *[largeBuffer]byte
}

// Splice joins a and b with buffers that no other connection shares. See
// [Splicer.Splice].
func Splice(ctx context.Context, a, b Conn) error { return new(Splicer).Splice(ctx, a, b) }

// Splice copies between a and b until both directions have ended, one of them
// fails, or ctx is done. The end of a direction is passed on as a half-close,
// so a request may end before its response does.
//
// It returns nil if both directions ended by themselves, the first error that
// ended one of them, or the cause of ctx. Then nothing it started runs any
// more. Splice borrows a and b: to stop a copy it sets a deadline in the past,
// which stays; after an error the owner should [Abort] both before it closes
// them, or a broken transfer looks complete.
func (s *Splicer) Splice(ctx context.Context, a, b Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unblocked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(unblocked)
		longAgo := time.Unix(1, 0)
		a.SetDeadline(longAgo)
		b.SetDeadline(longAgo)
	})

	half := func(dst, src Conn) {
		err := s.copy(dst, src)
		if err == nil {
			err = dst.CloseWrite()
		}
		if err != nil {
			cancel(err) // one broken direction ends both
		}
	}
	var forth sync.WaitGroup
	forth.Go(func() { half(b, a) })
	half(a, b)
	forth.Wait()
	if !stop() {
		<-unblocked
	}
	return context.Cause(ctx)
}

// errInvalidWrite reports a Conn that breaks the contract of [io.Writer].
var errInvalidWrite = errors.New("proxy: invalid write result")

// copy copies src to dst until src ends or one of them fails.
func (s *Splicer) copy(dst io.Writer, src io.Reader) error {
	small := make([]byte, smallBuffer)
	buf, large := small, (*[largeBuffer]byte)(nil)
	defer func() { s.put(large) }()
	for {
		n, err := src.Read(buf)
		if n > 0 {
			m, err := dst.Write(buf[:n])
			if err != nil {
				return err
			}
			if m != n {
				return errInvalidWrite
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch size := nextSize(len(buf), n); {
		case size == len(buf):
		case size == largeBuffer:
			large = s.get()
			buf = large[:]
		default:
			s.put(large)
			buf, large = small, nil
		}
	}
}

// nextSize returns the size of the buffer to read into after a read of n bytes
// into one of the given size. A full buffer means that more is waiting. A
// buffer that was used to an eighth is given back before the next read, which
// may block for long.
func nextSize(size, n int) int {
	if n == size || size == largeBuffer && n > size/8 {
		return largeBuffer
	}
	return smallBuffer
}

func (s *Splicer) get() *[largeBuffer]byte {
	if b, ok := s.large.Get().(*[largeBuffer]byte); ok {
		return b
	}
	return new([largeBuffer]byte)
}

// put takes back what get returned, or nil.
func (s *Splicer) put(b *[largeBuffer]byte) {
	if b != nil {
		s.large.Put(b)
	}
}
