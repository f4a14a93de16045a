package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// bufferSizes are the steps in which the buffer of a direction grows with its
// traffic: a connection that waits for a person holds a page, a download moves
// a quarter of a megabyte per system call.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 32 << 10
	largeBuffer  = 256 << 10
)

// A Splicer joins connections and keeps the buffers that they no longer need
// for those that do. The zero Splicer is ready. It is safe for concurrent use.
type Splicer struct {
	medium, large sync.Pool // of *[]byte
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
	buf, pooled := small, (*[]byte)(nil)
	defer func() { s.put(pooled) }()
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
		size := nextSize(len(buf), n)
		if size == len(buf) {
			continue
		}
		s.put(pooled)
		if pooled = s.get(size); pooled != nil {
			buf = *pooled
		} else {
			buf = small
		}
	}
}

// nextSize returns the size of the buffer to read into after a read of n bytes
// into one of the given size. A full buffer means that more is waiting. A
// buffer that was used to an eighth is given back before the next read, which
// may block for long.
func nextSize(size, n int) int {
	switch {
	case n == size && size == smallBuffer:
		return mediumBuffer
	case n == size:
		return largeBuffer
	case n > size/8 || size == smallBuffer:
		return size
	case size == largeBuffer && n > smallBuffer:
		return mediumBuffer
	}
	return smallBuffer
}

// get returns a buffer of one of the two greater sizes, or nil for the
// smallest, which is not pooled.
func (s *Splicer) get(size int) *[]byte {
	pool := &s.medium
	switch size {
	case smallBuffer:
		return nil
	case largeBuffer:
		pool = &s.large
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

// put takes back what get returned.
func (s *Splicer) put(b *[]byte) {
	switch {
	case b == nil:
	case len(*b) == largeBuffer:
		s.large.Put(b)
	default:
		s.medium.Put(b)
	}
}
