package rtsp

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"peerway/proxy"
)

// A gateway answers players. gortsplib calls its methods from many goroutines.
type gateway struct {
	routes Routes
	log    *slog.Logger
	server *gortsplib.Server
	ready  chan struct{} // closed when hub is set
	hub    *hub

	setups sync.Mutex // held by the goroutine of a connection during each SETUP, see OnRequest

	mu      sync.Mutex
	players map[*gortsplib.ServerSession]*player
}

// A player is a session that has set up a track.
type player struct {
	source *source
	conn   *gortsplib.ServerConn
	slow   bool // packets were left out; guarded by the gateway's lock
}

func newGateway(routes Routes, log *slog.Logger) *gateway {
	return &gateway{
		routes: routes, log: log,
		ready:   make(chan struct{}),
		players: make(map[*gortsplib.ServerSession]*player),
	}
}

// find returns the place that a player's URL names.
func (g *gateway) find(path, query string) (place, error) {
	target, scheme, rest, err := g.routes.LookupPath(path)
	if err != nil {
		return place{target: target}, err
	}
	at := place{target: target, path: strings.TrimRight(rest, "/"), query: query}
	if scheme != "" && !strings.HasPrefix(scheme, "rtsp") { // empty: nobody knows
		return at, &proxy.Error{
			Code: proxy.CodeUnknownName, Hop: proxy.HopGateway, Target: target,
			Reason: "this service is not a camera but speaks " + scheme,
		}
	}
	return at, nil
}

// OnDescribe opens the camera, or joins those who watch it.
func (g *gateway) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	<-g.ready
	at, err := g.find(ctx.Path, ctx.Query)
	var s *source
	if err == nil {
		s, err = g.hub.watch(at)
	}
	if err != nil {
		switch {
		case errors.Is(err, errFar), errors.Is(err, errAway):
			err = &proxy.Error{Code: proxy.CodeNoPath, Hop: proxy.HopPath, Target: at.target, Reason: err.Error(), Fix: "try again"}
		case errors.Is(err, errSlow):
			err = &proxy.Error{Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: at.target, Reason: err.Error(), Fix: "try again, or look after the camera"}
		}
		if s == nil { // else the source has said it
			g.log.Warn("player gets nothing", "remote", ctx.Conn.NetConn().RemoteAddr(), "err", err)
		}
		return refuse(at, err), nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, s.stream, nil
}

// OnSetup makes a session a player of the source that its DESCRIBE has opened.
func (g *gateway) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	<-g.ready
	if ctx.Transport != gortsplib.TransportTCP && !udpReaches(ctx.Conn.NetConn().RemoteAddr()) {
		// Players ask for TCP at once then; without this they wait for packets first.
		return &base.Response{StatusCode: base.StatusUnsupportedTransport}, nil, nil
	}
	g.mu.Lock()
	p, again := g.players[ctx.Session]
	g.mu.Unlock()
	if again { // the path is the same, gortsplib has checked that; so must be the stream
		return &base.Response{StatusCode: base.StatusOK}, p.source.stream, nil
	}
	at, err := g.find(ctx.Path, ctx.Query)
	if err != nil {
		return refuse(at, err), nil, nil
	}
	s, ok := g.hub.join(at)
	if !ok {
		return refuse(at, errors.New("the camera is not open: ask for its description first")), nil, nil
	}
	g.mu.Lock()
	g.players[ctx.Session] = &player{source: s, conn: ctx.Conn}
	g.mu.Unlock()
	ctx.Conn.NetConn().(*playerConn).sessions.Add(1)
	return &base.Response{StatusCode: base.StatusOK}, s.stream, nil
}

// udpReaches reports whether the gateway's UDP sockets, which are on 127.0.0.1,
// reach a player.
func udpReaches(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	return ip.Unmap().Is4() && ip.Unmap().IsLoopback()
}

// OnPlay lets a player watch.
func (g *gateway) OnPlay(ctx *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	g.mu.Lock()
	p := g.players[ctx.Session]
	g.mu.Unlock()
	if p == nil {
		return &base.Response{StatusCode: base.StatusMethodNotValidInThisState}, nil
	}
	if f, ok := p.source.pull.(*feed); ok {
		f.welcome(ctx.Session)
	}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnPause lets a player rest. ffmpeg pauses before it changes from UDP to TCP.
// gortsplib 4 panics when a multicast player pauses: this server has no
// multicast, and says no should it get one.
func (g *gateway) OnPause(ctx *gortsplib.ServerHandlerOnPauseCtx) (*base.Response, error) {
	if t := ctx.Session.SetuppedTransport(); t == nil || *t == gortsplib.TransportUDPMulticast {
		return &base.Response{StatusCode: base.StatusMethodNotValidInThisState}, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnGetParameter answers a keep-alive.
func (g *gateway) OnGetParameter(*gortsplib.ServerHandlerOnGetParameterCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK, Header: base.Header{}}, nil
}

// OnSetParameter answers a keep-alive of those who use it for that.
func (g *gateway) OnSetParameter(*gortsplib.ServerHandlerOnSetParameterCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK, Header: base.Header{}}, nil
}

// OnSessionClose takes a player away from its source.
func (g *gateway) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	g.mu.Lock()
	p, ok := g.players[ctx.Session]
	delete(g.players, ctx.Session)
	g.mu.Unlock()
	if ok {
		p.conn.NetConn().(*playerConn).sessions.Add(-1)
		g.hub.leave(p.source)
	}
}

// OnConnClose ends the sessions that were set up over a connection. gortsplib
// keeps a UDP session for a minute after its player is gone.
func (g *gateway) OnConnClose(ctx *gortsplib.ServerHandlerOnConnCloseCtx) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for session, p := range g.players {
		if p.conn == ctx.Conn {
			session.Close()
		}
	}
}

// OnRequest begins each request; OnResponse follows in the same goroutine.
//
// One SETUP is handled at a time: gortsplib looks into the sessions of all UDP
// players without a lock, and the process may die of a map that changes
// meanwhile. It also is not told that a player is GStreamer: it would delay the
// SETUP by a second, for the sake of those that publish.
func (g *gateway) OnRequest(c *gortsplib.ServerConn, req *base.Request) {
	p := c.NetConn().(*playerConn)
	switch cseq := req.Header["CSeq"]; req.Method {
	case base.Setup:
		delete(req.Header, "User-Agent")
		g.setups.Lock()
		p.settingUp = true
	case base.Pause:
		p.pausing = true
	case base.Teardown:
		p.unasked = len(cseq) == 1 && cseq[0] == ofOurs
	}
}

// OnResponse ends each request. It completes the answer: gortsplib tells only UDP
// players how often they must show that they live; others then guess.
func (g *gateway) OnResponse(c *gortsplib.ServerConn, res *base.Response) {
	p := c.NetConn().(*playerConn)
	if p.settingUp {
		p.settingUp = false
		g.setups.Unlock()
	}
	p.muted.Store(p.unasked)
	pausing := p.pausing
	p.pausing, p.unasked = false, false
	res.Header["Server"] = base.HeaderValue{"Peerway"}
	if v := res.Header["Session"]; len(v) == 1 {
		id, _, _ := strings.Cut(v[0], ";")
		res.Header["Session"] = base.HeaderValue{id + ";timeout=55"} // ends after 60
		if pausing {
			p.paused.Store(&id)
		}
	}
}

// OnStreamWriteError is told that a packet did not fit into a player's queue. It
// is called from the camera's reader.
func (g *gateway) OnStreamWriteError(ctx *gortsplib.ServerHandlerOnStreamWriteErrorCtx) {
	g.mu.Lock()
	p := g.players[ctx.Session]
	first := p != nil && !p.slow
	if first {
		p.slow = true
	}
	g.mu.Unlock()
	if first {
		g.log.Warn("player is too slow and misses packets",
			"remote", p.conn.NetConn().RemoteAddr(), "peer", p.source.place.target.Peer, "service", p.source.place.target.Service)
	}
}

// OnPacketsLost is here because gortsplib prints without it.
func (g *gateway) OnPacketsLost(*gortsplib.ServerHandlerOnPacketsLostCtx) {}

// OnDecodeError is here because gortsplib prints without it.
func (g *gateway) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx) {}
