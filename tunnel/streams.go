package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apernet/quic-go"

	"peerway/tunnel/lane"
)

// errBroken is the cause of a session whose peer does not keep to the protocol.
var errBroken = errors.New("the peer broke the protocol")

// announceIn is how long a QUIC stream may stay silent before it has said what
// it is for.
const announceIn = 10 * time.Second

// An Outgoing is a stream that was opened to a peer.
type Outgoing struct {
	*lane.Stream
	session *session
}

// Heard returns when the peer was heard last, on any path of the tunnel; zero is never.
// While the tunnel is quiet it is heard each 5 s, or each second if this is called that often.
func (o *Outgoing) Heard() time.Time {
	s := o.session
	s.lookedAt.Store(time.Now().UnixNano())
	if at := s.heardAt.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// openLane opens the QUIC stream for a lane.
func (s *session) openLane(ctx context.Context) (lane.Conn, error) {
	stream, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &laneConn{Stream: stream, announce: []byte{streamLane}}, nil
}

// acceptStreams gives each QUIC stream of the peer to what it is for. It
// returns when the connection or ctx ends, or the control stream does.
func (s *session) acceptStreams(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var controls sync.Once
	for {
		stream, err := s.conn.AcceptStream(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return lost(err)
		}
		serving.Go(func() {
			err := s.acceptStream(ctx, stream, &controls)
			if err != nil {
				cancel(err)
			}
		})
	}
}

// acceptStream serves one stream. An error ends the session.
func (s *session) acceptStream(ctx context.Context, stream *quic.Stream, controls *sync.Once) error {
	conn := &laneConn{Stream: stream}
	stream.SetReadDeadline(time.Now().Add(announceIn))
	var what [1]byte
	if _, err := io.ReadFull(stream, what[:]); err != nil {
		conn.Reset()
		return nil // one silent stream harms nobody
	}
	stream.SetReadDeadline(time.Time{})
	switch what[0] {
	case streamLane:
		s.lanes.Serve(conn)
		return nil
	case streamControl:
		err := fmt.Errorf("%w: a second control stream", errBroken)
		if s.role == answering {
			controls.Do(func() { err = s.runControl(ctx, conn) })
		}
		return err
	}
	conn.Reset() // a newer peer may know more kinds of streams
	return nil
}

// openControl opens the control stream and serves it.
func (s *session) openControl(ctx context.Context) error {
	stream, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return fmt.Errorf("open the control stream: %w", err)
	}
	return s.runControl(ctx, &laneConn{Stream: stream, announce: []byte{streamControl}})
}

// A control carries messages to and from the peer once there is a tunnel:
// exactly once and in order, or the session ends.
type control struct {
	out   chan message
	idle  chan message // of the kinds idle…
	stuck func()       // called when out is full
}

// outgoing is how many messages may wait for the control stream. No honest
// sequence of events has more than a few under way.
const outgoing = 64

// newControl returns a control that calls stuck, which must not block, when the
// peer takes no messages.
func newControl(stuck func()) *control {
	return &control{out: make(chan message, outgoing), idle: make(chan message, 4), stuck: stuck}
}

// send queues msg. It never blocks: when the queue is full the tunnel ends, for
// no message may be lost on one that goes on.
func (c *control) send(msg message) {
	select {
	case c.out <- msg:
	default:
		c.stuck()
	}
}

// runControl serves the control stream until ctx or the stream ends. It closes
// conn.
func (s *session) runControl(ctx context.Context, conn *laneConn) error {
	var writing sync.WaitGroup
	defer writing.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, conn.Reset)
	defer stop()
	defer conn.Reset()

	// The peer sees the stream only when something is written to it.
	s.control.send(message{Kind: hello, Instance: s.m.cfg.Instance})
	writing.Go(func() { cancel(s.writeControl(ctx, conn)) })
	for {
		msg, err := readMessage(conn)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		switch msg.Kind {
		case pingAsk:
			s.peerLimits.Store(uint32(msg.Limits))
			s.answerPing(msg)
		case pingPong:
			s.peerLimits.Store(uint32(msg.Limits))
			s.heardPong(msg)
		case hello:
			s.instance.Store(msg.Instance)
			s.peerLimits.Store(uint32(msg.Limits))
		case idleAsk, idleAgree, idleRefuse:
			select {
			case s.control.idle <- msg:
			case <-ctx.Done():
			}
		default:
			s.receive(msg)
		}
	}
}

func (s *session) writeControl(ctx context.Context, conn io.Writer) error {
	for {
		select {
		case msg := <-s.control.out:
			switch msg.Kind {
			case hello, pingAsk, pingPong:
				msg.Limits = s.m.limits() // as they are now
			}
			if err := writeMessage(conn, msg); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// writeMessage writes msg behind its length, in one write.
func writeMessage(w io.Writer, msg message) error {
	b, err := msg.encode()
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// readMessage reads what writeMessage writes.
func readMessage(r io.Reader) (message, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return message{}, fmt.Errorf("control stream: %w", lost(err))
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxMessage {
		return message{}, fmt.Errorf("%w: control message of %d bytes", errBroken, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return message{}, fmt.Errorf("control stream: %w", lost(err))
	}
	msg, err := decodeMessage(b)
	if err != nil {
		return message{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	return msg, nil
}
