package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apernet/quic-go"

	"peerway/signal"
	"peerway/signal/relay"
	"peerway/tunnel/lane"
	"peerway/tunnel/network"
	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

var errRestarted = fmt.Errorf("%w: it was restarted", ErrPeerLost)

// A role says which end made the tunnel. The dialing end sends the offer, is
// QUIC's client, and controls ICE.
type role uint8

const (
	dialing role = iota
	answering
)

// A session is one tunnel with one peer, from the first offer to the release of
// the last resource. Its goroutine is run; all else tells it things or waits.
type session struct {
	m     *Manager
	log   *slog.Logger
	peer  signal.PeerID
	id    uint64 // session at the relay
	role  role
	inbox chan message    // from the peer; full: the message is lost
	conns chan *quic.Conn // answering: from the listener

	places  chan []relay.Place  // relays on UDP that may be used; holds the newest
	answers chan relayAnswer    // of those
	moved   chan struct{}       // holds a token when the network has changed
	nat     chan network.NAT    // what was found out about it since
	opened  chan netip.AddrPort // where everybody can reach this end

	stop     context.CancelCauseFunc // ends life
	life     context.Context
	ready    chan struct{} // closed when streams can be opened
	retired  chan struct{} // closed when no stream can be opened any more; err is set
	err      error
	instance atomic.Uint64 // which life of the peer's process; 0 until known

	offline atomic.Bool // the server says that the peer is
	doubted atomic.Bool // the server says that its process is another one

	peerLimits atomic.Uint32 // Limits, as the peer says

	hints hints // for the congestion controller

	spent atomic.Pointer[spent] // what the server last said of the quota; nil: nothing

	near   atomic.Pointer[netip.AddrPort] // where the peer is in the local network; nil: not known
	absent atomic.Bool                    // it was not found there
	flight flight                         // what nobody may have received

	route *pathsock.Peer // opened by register, closed by run
	paths atomic.Pointer[[]PathInfo]

	lookedAt atomic.Int64 // Unix time in ns; 0: never
	heardAt  atomic.Int64 // the same, of a packet that only the peer can have sent

	// Set before ready is closed.
	conn    *quic.Conn
	lanes   *lane.Set
	control *control
	started time.Time

	mu      sync.Mutex
	idle    idleClock
	opening int           // streams being opened
	drains  bool          // no stream may be opened: a newer tunnel is there, or will be
	changed chan struct{} // holds one token when idle must be looked at
	settled chan struct{} // closed when an answer to idleAsk is known
	where   path.Decision // how the peer is reached now
	why     string        // there is no direct path
	hitch   Hitch         // no relay on UDP is used

	exhausted string // which relays carry nothing any more, and until when; empty: none
	pongs     map[uint64]chan string
}

func newSession(m *Manager, peer signal.PeerID, id uint64, r role) *session {
	s := &session{
		m:       m,
		log:     m.log.With("peer", peer),
		peer:    peer,
		id:      id,
		role:    r,
		inbox:   make(chan message, 32),
		conns:   make(chan *quic.Conn, 1),
		places:  make(chan []relay.Place, 1),
		answers: make(chan relayAnswer, 4),
		moved:   make(chan struct{}, 1),
		nat:     make(chan network.NAT, 4),
		opened:  make(chan netip.AddrPort, 1),
		ready:   make(chan struct{}),
		retired: make(chan struct{}),
		idle:    idleClock{linger: m.cfg.linger, answerIn: 5 * time.Second},
		changed: make(chan struct{}, 1),
		settled: make(chan struct{}),
	}
	s.life, s.stop = context.WithCancelCause(m.life)
	return s
}

// register makes packets from the peer find the session. unregister undoes it.
func (s *session) register() {
	s.route = s.m.sock.Add(relayed{s.m.cfg.Signal, s}, s.id)
	s.where = path.Decision{Websocket: true, Name: path.Websocket}
	s.m.cfg.Signal.Bind(s.id, s.peer) // without a server the introduction fails, and says so
	s.m.routes.Store(s.id, s)
	s.m.byAddr.Store(addrOf(s.route.Addr()), s)
}

// relayed sends packets of a session over the relay.
type relayed struct {
	signal  Signaler
	session *session
}

func (r relayed) WritePacket(p []byte) error {
	r.session.flight.keep(p)
	return r.signal.Relay(r.session.id, p)
}

// isUp reports whether the handshake is over.
func (s *session) isUp() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// cancel ends the session. It does not wait.
func (s *session) cancel(cause error) { s.stop(cause) }

// await waits until the session is up. If it will not be, again says whether
// another one may: there is a newer one, or this one was up and has ended since
// it was found.
func (s *session) await(ctx context.Context) (again bool, err error) {
	select {
	case <-s.ready:
		return false, nil
	case <-s.retired:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	select {
	case <-s.ready:
		again = true
	default:
		again = errors.Is(s.err, errSuperseded) || errors.Is(s.err, errReplaced)
	}
	return again, s.err
}

// receive takes a message of the peer. It never blocks.
func (s *session) receive(msg message) {
	select {
	case s.inbox <- msg:
	default: // a peer that says more than we can hear is not served better
	}
}

// offer hands over a connection that the peer has opened. It reports false if
// the session does not want it.
func (s *session) offer(conn *quic.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role != answering || s.idle.phase == over { // over: nobody would close it
		return false
	}
	select {
	case s.conns <- conn:
		return true
	default:
		return false
	}
}

// run is the life of the session. When it returns, everything is released.
func (s *session) run() {
	defer s.unregister()
	err := s.serve(s.life)
	s.retire(err)
}

func (s *session) unregister() {
	s.stop(nil)
	s.m.byAddr.Delete(addrOf(s.route.Addr()))
	s.m.routes.Delete(s.id)
	s.m.cfg.Signal.Unbind(s.id)
	s.route.Close()
	select { // a connection that arrived too late
	case conn := <-s.conns:
		conn.CloseWithError(closeReplaced, "too late")
	default:
	}
}

// retire makes the session unfindable and wakes who waits for it.
func (s *session) retire(err error) {
	s.m.retire(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.phase = over
	s.close(err)
}

// drain makes the session unfindable, but leaves it the streams that it has: it
// ends when it has been idle, as others do. The caller takes it out of its slot.
func (s *session) drain(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drains = true
	s.close(why)
}

// close closes retired. s.mu is held.
func (s *session) close(err error) {
	select {
	case <-s.retired:
	default:
		s.err = err
		close(s.retired)
	}
}

// serve makes the tunnel and keeps it until it ends. The frame owns all that
// needs a tunnel.
func (s *session) serve(ctx context.Context) error {
	var climbing sync.WaitGroup
	defer climbing.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	introduced := make(chan error, 1)
	climbing.Go(func() { s.climb(ctx, introduced) })

	conn, err := s.connect(ctx, introduced)
	if err != nil {
		return s.explain(err)
	}
	defer func() { conn.CloseWithError(closeCode(context.Cause(ctx)), "") }()

	s.flight.land()
	s.conn, s.started = conn, time.Now()
	steer(conn, s.route, &s.hints)
	s.control = newControl(func() { s.cancel(fmt.Errorf("%w: it takes no messages", errBroken)) })
	s.lanes = lane.New(lane.Config{
		Budget:  s.m.budget,
		Open:    s.openLane,
		Handle:  func(st *lane.Stream) { s.m.cfg.Handle(ctx, &Incoming{Stream: st, Peer: s.peer}) },
		Changed: func(int) { s.wake() },
		Log:     s.m.log,
	})
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel(nil)
	serving.Go(func() { s.route.Run(ctx) })
	serving.Go(func() { s.lanes.Run(ctx) })
	serving.Go(func() { cancel(s.acceptStreams(ctx)) })
	if s.role == dialing {
		serving.Go(func() { cancel(s.openControl(ctx)) })
	}
	if !s.m.promote(s) {
		return errSuperseded
	}
	close(s.ready)
	name, _ := s.reached(s.whereNow())
	s.log.Info("tunnel is up", "path", cmp.Or(name, "none yet"), "dur", time.Since(s.started).Round(time.Millisecond))
	err = s.keep(ctx)
	s.retire(err) // before anything is closed: nobody may find it any more
	cancel(err)
	s.log.Info("tunnel has ended", "err", err)
	return err
}

// connect returns the QUIC connection with the peer, made over the relay.
// introduced tells when the peer cannot be told.
func (s *session) connect(ctx context.Context, introduced <-chan error) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeIn, fmt.Errorf("%w: no answer within %v", ErrNoPath, handshakeIn))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	if s.role == answering {
		select {
		case conn := <-s.conns:
			return conn, nil
		case err := <-introduced:
			return nil, err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer fail(nil)
	watching.Go(func() {
		select {
		case err := <-introduced:
			fail(err)
		case <-ctx.Done():
		}
	})
	conn, err := s.m.transport.dial(ctx, s.route.Addr(), pinned(s.m.cert, s.peer))
	if err == nil {
		return conn, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return nil, unanswered(err)
}

// dial opens a stream, or waits while the two ends settle whether the tunnel
// ends. The error wraps [lane.ErrClosed] if it does.
func (s *session) dial(ctx context.Context, h lane.Header) (*lane.Stream, error) {
	for {
		s.mu.Lock()
		if s.idle.mayOpen() && !s.drains {
			s.opening++
			s.idle.streams(s.opening, time.Now()) // so that nobody agrees to end it meanwhile
			s.mu.Unlock()
			break
		}
		settled, gone := s.settled, s.idle.phase == over || s.drains
		s.mu.Unlock()
		if gone {
			return nil, fmt.Errorf("the tunnel is ending: %w", lane.ErrClosed)
		}
		select {
		case <-settled:
		case <-s.retired:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer s.wake()
	defer func() {
		s.mu.Lock()
		s.opening--
		s.mu.Unlock()
	}()
	stream, err := s.lanes.Dial(ctx, h)
	if err != nil && s.conn.Context().Err() != nil { // keep has not seen it yet
		err = fmt.Errorf("%w: %w", lane.ErrClosed, lost(err))
	}
	return stream, err
}

// wake makes keep look at the number of streams.
func (s *session) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// keep runs the idle clock until both ends have agreed to end the tunnel
// (errIdle) or it is lost.
func (s *session) keep(ctx context.Context) error {
	timer := time.NewTimer(s.m.cfg.linger)
	defer timer.Stop()
	s.wake()
	for {
		select {
		case <-ctx.Done():
			return s.agreed(context.Cause(ctx))
		case <-s.conn.Context().Done():
			return s.agreed(lost(context.Cause(s.conn.Context())))
		case <-s.changed:
		case <-timer.C:
		case msg := <-s.control.idle:
			s.heardIdle(msg.Kind)
		}
		ask, over, due := s.count(time.Now())
		if over {
			return errIdle
		}
		if ask {
			s.control.send(message{Kind: idleAsk})
		}
		timer.Stop()
		if !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// agreed returns why the tunnel has ended. A peer that was asked to end it may do so before
// its answer is read.
func (s *session) agreed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle.phase != counting && errors.Is(err, ErrPeerLost) {
		return errIdle
	}
	return err
}

// count brings the idle clock up to date.
func (s *session) count(now time.Time) (ask, ended bool, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.streams(s.lanes.Live()+s.opening, now)
	ask = s.idle.tick(now)
	return ask, s.idle.phase == over, s.idle.due()
}

// heardIdle answers what the peer says about ending the tunnel.
func (s *session) heardIdle(k kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.idle.streams(s.lanes.Live()+s.opening, now)
	switch k {
	case idleAsk:
		if s.idle.asked() {
			s.control.send(message{Kind: idleAgree})
		} else {
			s.control.send(message{Kind: idleRefuse})
		}
	case idleAgree, idleRefuse:
		s.idle.answered(k == idleAgree, now)
	}
	if s.idle.phase != asking {
		close(s.settled)
		s.settled = make(chan struct{})
	}
}

// info describes the session at now.
func (s *session) info(now time.Time) Info {
	stats, where := s.conn.ConnectionStats(), s.whereNow()
	name, remote := s.reached(where)
	here, there := s.limits(where)
	hitch := s.hitched(name)
	s.lookedAt.Store(now.UnixNano())
	paths, rtt := s.pathsAt(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	info := Info{
		Peer:     s.peer,
		Path:     string(name),
		Remote:   remote,
		RTT:      cmp.Or(rtt, stats.SmoothedRTT),
		Streams:  s.lanes.Live(),
		BytesIn:  int64(stats.BytesReceived),
		BytesOut: int64(stats.BytesSent),
		Up:       now.Sub(s.started),

		Paths: paths,

		Why: s.why, Exhausted: s.exhausted, Hitch: hitch, Limits: here, PeerLimits: there,
	}
	if info.Streams == 0 && !s.idle.emptySince.IsZero() {
		info.Idle = now.Sub(s.idle.emptySince)
	}
	return info
}

func closeCode(cause error) quic.ApplicationErrorCode {
	switch {
	case errors.Is(cause, errIdle):
		return closeIdle
	case errors.Is(cause, errReplaced), errors.Is(cause, errSuperseded):
		return closeReplaced
	case errors.Is(cause, net.ErrClosed), errors.Is(cause, context.Canceled):
		return closeGoing
	case errors.Is(cause, errBroken):
		return closeBroken
	}
	return closeGoing
}
