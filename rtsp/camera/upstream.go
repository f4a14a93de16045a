package camera

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"peerway/proxy"
	"peerway/rtsp/wire"
)

const (
	writeWithin    = 5 * time.Second        // one write to the camera
	lastWriteIn    = 500 * time.Millisecond // one that is under way when all must end
	farewellWithin = time.Second            // answer of the camera to TEARDOWN
)

// An Upstream is a connection to a camera. It owns the connection.
type Upstream struct {
	conn net.Conn

	mu       sync.Mutex // guards the following, and keeps writes to conn in the dialogue's order
	dialogue *dialogue
	deaf     error // of a write to the camera, which may have been cut: nothing may follow
	timed    bool  // conn has a read deadline: an answer is due
	leaving  bool  // the read deadline is the farewell's
}

// Close closes the connection to the camera. It may be called again.
func (u *Upstream) Close() error { return u.conn.Close() }

// Splice carries a gateway's conversation with the camera until one of the two
// ends it or ctx is done. Then the camera is told with TEARDOWN, unless the
// gateway has done that, and gets 1 s to answer. Splice borrows stream: it ends
// its outgoing direction but does not close it. It may be called once.
func (u *Upstream) Splice(ctx context.Context, stream proxy.Conn) error {
	s := &splice{Upstream: u, stream: stream, out: wire.NewGatherer(stream)}
	var answers sync.WaitGroup
	defer answers.Wait()

	stop := context.AfterFunc(ctx, func() {
		stream.SetDeadline(time.Unix(1, 0))
		u.conn.SetWriteDeadline(time.Now().Add(lastWriteIn))
	})
	defer stop()

	var heard error
	answers.Go(func() {
		var told bool
		heard, told = s.answers()
		s.out.Close()
		stream.CloseWrite()
		s.hangUp(told)
	})
	asked := s.requests()
	u.farewell()
	answers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(asked, io.EOF) || errors.Is(asked, os.ErrDeadlineExceeded) {
		asked = nil // the gateway is done, or answers ended and says why
	}
	if errors.Is(heard, os.ErrDeadlineExceeded) {
		heard = nil // silence after the farewell
	}
	return errors.Join(asked, heard)
}

// splice is the state of one call of Splice.
type splice struct {
	*Upstream
	stream proxy.Conn
	out    *wire.Gatherer // a picture of many packets leaves in one write
}

// requests carries the gateway's messages to the camera until the gateway ends.
func (s *splice) requests() error {
	in := wire.NewReader(s.stream)
	for {
		part, err := in.Next()
		if err != nil {
			return err
		}
		if part.Frame != nil {
			err = s.toCamera(func(d *dialogue) []byte {
				if d.session == "" {
					return nil // there is no channel yet
				}
				return part.Frame
			})
		} else {
			err = s.request(part)
		}
		if err != nil {
			return err
		}
	}
}

func (s *splice) request(part wire.Part) (err error) {
	var refused []byte
	sent := s.toCamera(func(d *dialogue) (out []byte) {
		out, refused, err = d.ask(part.Head, part.Body)
		return out
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return s.toGateway(refused)
	}
	return sent
}

// hangUp ends requests: at once, or when the gateway has had time to read what
// it was told. The end of a stream in error overtakes what is on its way.
func (s *splice) hangUp(told bool) {
	until := time.Unix(1, 0)
	if told {
		until = time.Now().Add(farewellWithin)
	}
	s.stream.SetReadDeadline(until)
}

// answers carries the camera's messages and media to the gateway until the
// camera ends or has answered TEARDOWN. When the gateway takes no more, answers
// goes on to listen for that answer: a connection that is closed with unread
// data in it is reset, and a reset may overtake the TEARDOWN.
//
// When the camera fails, the gateway's requests are answered with the reason;
// told reports that there were any.
func (s *splice) answers() (err error, told bool) {
	in := wire.NewReader(s.conn)
	var deaf error // of the gateway
	for over := false; !over; {
		part, err := in.Next()
		if err != nil {
			err = s.named(err)
			return cmp.Or(deaf, fmt.Errorf("the camera: %w", err)), s.excuse(err)
		}
		out := part.Frame
		if part.Frame == nil {
			if out, over, err = s.answer(part); err != nil {
				return err, s.excuse(err)
			}
		}
		if deaf == nil {
			if deaf = s.toGateway(out); deaf != nil {
				s.hangUp(false)
			}
		}
	}
	return deaf, false
}

// named tells a camera that does not answer from the farewell's silence.
func (s *splice) named(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timed && !s.leaving && errors.Is(err, os.ErrDeadlineExceeded) {
		return errNoAnswer
	}
	return err
}

// excuse answers the requests that wait with the reason why the camera does not,
// after all that it has said. It reports whether there were any.
func (s *splice) excuse(err error) bool {
	s.mu.Lock()
	out := s.dialogue.giveUp(err)
	s.mu.Unlock()
	return s.toGateway(out) == nil && len(out) > 0
}

// answer translates a message of the camera and sends it what is due. It
// reports whether the session is over.
func (s *splice) answer(part wire.Part) (toGateway []byte, over bool, err error) {
	sent := s.toCamera(func(d *dialogue) (toCamera []byte) {
		toGateway, toCamera, err = d.hear(part.Head, part.Body)
		over = d.over
		return toCamera
	})
	return toGateway, over, cmp.Or(err, sent)
}

// toGateway writes one frame, or messages, to the stream. Nothing is nothing.
func (s *splice) toGateway(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := s.out.Write(p)
	return err
}

// toCamera writes what say returns. The dialogue is locked while it is sent, so
// that requests arrive in the order of their numbers.
func (u *Upstream) toCamera(say func(*dialogue) []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := say(u.dialogue)
	u.expect(len(out) > 0)
	if len(out) == 0 || u.deaf != nil {
		return u.deaf
	}
	u.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := u.conn.Write(out); err != nil {
		u.deaf = fmt.Errorf("the camera: %w", err)
	}
	return u.deaf
}

// expect bounds the wait for the answers that lead to a session. Later, media
// tells that the camera is there, and the gateway listens for that; some cameras
// never answer a keep-alive. The caller holds mu.
func (u *Upstream) expect(asked bool) {
	switch d := u.dialogue; {
	case u.leaving:
	case d.session != "" || len(d.pending) == 0:
		if u.timed {
			u.timed = false
			u.conn.SetReadDeadline(time.Time{})
		}
	case asked:
		u.timed = true
		u.conn.SetReadDeadline(time.Now().Add(answerWithin))
	}
}

// farewell sends the TEARDOWN that is missing and bounds the wait for the last
// answer.
func (u *Upstream) farewell() {
	var waiting bool
	err := u.toCamera(func(d *dialogue) []byte {
		u.leaving = true
		last := d.teardown()
		waiting = d.tearing && !d.over
		return last
	})
	until := time.Now()
	if waiting && err == nil {
		until = until.Add(farewellWithin)
	}
	u.conn.SetReadDeadline(until)
}

// probe asks the camera for its description, as Check needs it. The caller has
// set a deadline.
func (u *Upstream) probe() error {
	in := wire.NewReader(u.conn)
	for _, method := range []base.Method{base.Options, base.Describe} {
		res, err := u.ask(in, method)
		switch {
		case err != nil:
			return err
		case res.StatusCode == base.StatusOK && method == base.Describe:
			if len(u.dialogue.controls.tracks) == 0 {
				return errors.New("the camera describes a stream without tracks")
			}
		case res.StatusCode == base.StatusOK:
		case method == base.Options && res.StatusCode != base.StatusUnauthorized:
			// not every camera knows it
		default:
			return errors.New(strings.Join(res.Header[ReasonHeader], " "))
		}
	}
	return nil
}

// ask makes a request of its own and waits for the answer.
func (u *Upstream) ask(in *wire.Reader, method base.Method) (*base.Response, error) {
	request, _ := base.Request{Method: method, URL: URL("", ""), Header: base.Header{
		"CSeq":   base.HeaderValue{strconv.Itoa(u.dialogue.number + 1)},
		"Accept": base.HeaderValue{"application/sdp"},
	}}.Marshal()
	out, _, err := u.dialogue.ask(request, nil)
	if err != nil {
		return nil, err
	}
	for {
		if _, err := u.conn.Write(out); err != nil {
			return nil, err
		}
		part, err := in.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("it hangs up after %s", method)
		} else if err != nil {
			return nil, err
		}
		if part.Frame != nil {
			continue
		}
		var answer []byte
		if answer, out, err = u.dialogue.hear(part.Head, part.Body); err != nil {
			return nil, err
		}
		if answer != nil {
			var res base.Response
			return &res, res.Unmarshal(reader(answer, nil))
		}
	}
}
