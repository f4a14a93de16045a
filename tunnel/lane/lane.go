package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// partIn is how long the peer has to end its direction of a lane that has
// ended here.
const partIn = 5 * time.Second

// A lane is a link and the yamux session on it. Its frame is run.
type lane struct {
	link  *link
	class Class         // of a lane that was opened here
	ready chan struct{} // closed when session is there, or the lane has ended

	opening sync.Mutex // one OpenStream at a time; held only briefly
	session *yamux.Session
	only    chan *flow // the stream of a dedicated lane
}

func newLane(l *link, class Class) *lane {
	return &lane{link: l, class: class, ready: make(chan struct{}), only: make(chan *flow, 1)}
}

// run serves the lane until ctx ends, the byte stream does, or, on a dedicated
// lane, the stream has. It owns the byte stream. When run returns, everything
// it opened is closed and every goroutine it started has returned.
func (l *lane) run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	defer failOnDone(ctx, l.link)()

	session, err := l.open()
	if err != nil {
		l.link.fail(err)
		close(l.ready)
		return err
	}
	defer session.Close()
	l.session = session
	close(l.ready)
	written := make(chan struct{})
	working.Go(func() {
		defer close(written)
		(&pump{l: l.link, turns: &l.link.set.turns}).run()
	})

	switch {
	case l.link.accepts:
		l.accept(session, &working)
	case l.class == Dedicated:
		select {
		case f := <-l.only:
			select {
			case <-f.over:
			case <-l.link.gone:
			}
		case <-session.CloseChan():
		}
	default:
		<-session.CloseChan()
	}
	return l.part(written)
}

// failOnDone ends l when ctx is done. The function it returns ends that; when it
// returns, nothing of it is going on.
func failOnDone(ctx context.Context, l *link) (end func()) {
	failed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(failed)
		l.fail(context.Cause(ctx))
	})
	return func() {
		if !stop() {
			<-failed
		}
	}
}

// open makes the yamux session.
func (l *lane) open() (*yamux.Session, error) {
	config := &yamux.Config{
		AcceptBacklog:       l.link.set.maxStreams(), // never full: the link refuses before
		EnableKeepAlive:     false,                   // the tunnel below knows whether the peer is there
		KeepAliveInterval:   time.Hour,
		MaxStreamWindowSize: initialWindow, // as little as it takes: the link grants
		// Writes to the link do not wait, so there is nothing to time out.
		ConnectionWriteTimeout: math.MaxInt64,
		StreamOpenTimeout:      0,
		StreamCloseTimeout:     0, // a stream may be half closed for ever
		Logger:                 yamuxLog{l.link.set.log()},
	}
	if l.link.accepts {
		return yamux.Server(l.link, config) // the peer numbers the streams
	}
	if l.class == Dedicated {
		config.AcceptBacklog = 1
	}
	return yamux.Client(l.link, config)
}

// accept starts a handler for every stream that the peer opens, until the
// session ends.
func (l *lane) accept(session *yamux.Session, working *sync.WaitGroup) {
	for {
		y, err := session.AcceptStream()
		if err != nil {
			return
		}
		if f := l.link.accept(y); f != nil {
			working.Go(func() {
				defer l.link.set.leavePlace()
				l.link.set.serve(newStream(f))
			})
		}
	}
}

// part ends the lane: after what is queued, if the byte stream still works, and
// by a reset otherwise. written is closed when nothing is being written any more.
func (l *lane) part(written <-chan struct{}) error {
	l.link.finish()
	timer := time.NewTimer(partIn)
	defer timer.Stop()
	for _, event := range []<-chan struct{}{written, l.link.ended} {
		select {
		case <-event:
		case <-l.link.gone:
		case <-timer.C:
			l.link.fail(errors.New("the peer does not end the lane"))
		}
	}
	l.link.mu.Lock()
	defer l.link.mu.Unlock()
	return l.link.err // nil after a proper end
}

// dial opens a stream. The error wraps [ErrLost] if the lane is of no more use.
func (l *lane) dial() (*Stream, error) {
	<-l.ready
	if l.session == nil {
		return nil, ErrLost
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	f, err := l.link.open(l.session)
	if err != nil {
		return nil, err
	}
	if l.class == Dedicated {
		f.dedicate()
		l.only <- f
	}
	return newStream(f), nil
}

// yamuxLog passes what yamux has to say on for debugging. Most of it is about
// frames for streams that have ended, which is nothing unusual.
type yamuxLog struct{ log *slog.Logger }

func (y yamuxLog) Print(v ...any)                 { y.log.Debug("yamux", "err", yamuxText{args: v}) }
func (y yamuxLog) Println(v ...any)               { y.log.Debug("yamux", "err", yamuxText{args: v}) }
func (y yamuxLog) Printf(format string, v ...any) { y.log.Debug("yamux", "err", yamuxText{format, v}) }

// yamuxText is made into text only if somebody wants to see it.
type yamuxText struct {
	format string
	args   []any
}

// LogValue implements [slog.LogValuer].
func (t yamuxText) LogValue() slog.Value {
	if t.format == "" {
		return slog.StringValue(fmt.Sprint(t.args...))
	}
	return slog.StringValue(fmt.Sprintf(t.format, t.args...))
}
