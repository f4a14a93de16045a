// Package wire cuts the byte stream of an RTSP connection into its parts: text
// messages and the interleaved frames between them (RFC 2326, 10.12).
//
// It looks no deeper than that: what a message says is the business of its
// callers.
//
// # Ownership
//
// A [Reader] borrows the reader it is given and starts nothing. The parts that
// it returns are borrowed from it until the next call. A [Gatherer] borrows its
// writer and has a timer, which writes nothing any more once Close has returned.
package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of what a [Reader] accepts; a frame is limited by its 16-bit length.
const (
	MaxHead = 16 << 10  // start line and headers of a message
	MaxBody = 128 << 10 // body of a message: a description has some KiB
	maxJunk = 64 << 10  // bytes between two parts that belong to neither
)

// Errors of a stream that is not RTSP or does not keep to the limits.
var (
	ErrTooLarge = errors.New("message too large")
	ErrNoRTSP   = errors.New("not RTSP")
)

// A Part is either an interleaved frame or a text message.
type Part struct {
	Frame []byte // with its header of four bytes; nil for a message
	Head  []byte // start line and headers, with the empty line
	Body  []byte // as long as Content-Length says
}

// Channel returns the channel of a frame.
func (p Part) Channel() byte { return p.Frame[1] }

// Payload returns the RTP or RTCP packet in a frame.
func (p Part) Payload() []byte { return p.Frame[4:] }

// A Reader returns the parts of a stream one after the other. It must not be
// used by two goroutines at once.
type Reader struct {
	br   *bufio.Reader
	used int    // bytes of br that belong to the part returned last
	text []byte // the message returned last, or a frame larger than br
}

// NewReader returns a Reader that reads from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, 16<<10)}
}

// Next returns the next part, or io.EOF when the stream ended between two
// parts.
func (r *Reader) Next() (Part, error) {
	r.br.Discard(r.used)
	r.used = 0
	for range maxJunk {
		b, err := r.br.Peek(1)
		if err != nil {
			return Part{}, err
		}
		switch {
		case b[0] == '$':
			return r.frame()
		case 'A' <= b[0] && b[0] <= 'Z':
			return r.message()
		}
		r.br.Discard(1) // empty lines before a message, padding after a frame
	}
	return Part{}, ErrNoRTSP
}

func (r *Reader) frame() (Part, error) {
	header, err := r.br.Peek(4)
	if err != nil {
		return Part{}, cutShort(err)
	}
	size := 4 + int(header[2])<<8 + int(header[3])
	if size <= r.br.Size() {
		frame, err := r.br.Peek(size)
		if err != nil {
			return Part{}, cutShort(err)
		}
		r.used = size
		return Part{Frame: frame}, nil
	}
	if cap(r.text) < size {
		r.text = make([]byte, size)
	}
	r.text = r.text[:size]
	if _, err := io.ReadFull(r.br, r.text); err != nil {
		return Part{}, cutShort(err)
	}
	return Part{Frame: r.text}, nil
}

func (r *Reader) message() (Part, error) {
	r.text = r.text[:0]
	for {
		start := len(r.text)
		if err := r.line(); err != nil {
			return Part{}, err
		}
		if len(bytes.TrimRight(r.text[start:], "\r\n")) == 0 {
			break
		}
	}
	head := len(r.text)
	size, err := bodySize(r.text)
	if err != nil {
		return Part{}, err
	}
	if need := head + size; cap(r.text) < need {
		r.text = append(make([]byte, 0, need), r.text...)
	}
	r.text = r.text[:head+size]
	if _, err := io.ReadFull(r.br, r.text[head:]); err != nil {
		return Part{}, cutShort(err)
	}
	return Part{Head: r.text[:head], Body: r.text[head:]}, nil
}

// line appends one line to the text, with its end.
func (r *Reader) line() error {
	for {
		piece, err := r.br.ReadSlice('\n')
		if len(r.text)+len(piece) > MaxHead {
			return fmt.Errorf("%w: headers of more than %d bytes", ErrTooLarge, MaxHead)
		}
		r.text = append(r.text, piece...)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return cutShort(err)
		}
	}
}

// bodySize returns the Content-Length of a head, 0 if it has none.
func bodySize(head []byte) (int, error) {
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !strings.EqualFold(string(bytes.TrimSpace(name)), "Content-Length") {
			continue
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil {
			return 0, fmt.Errorf("%w: Content-Length is not a number", ErrNoRTSP)
		}
		if size > MaxBody {
			return 0, fmt.Errorf("%w: body of %d bytes", ErrTooLarge, size)
		}
		return int(size), nil
	}
	return 0, nil
}

// cutShort tells an end in the middle of a part from one between two parts.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
