package rtsp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"

	"peerway/proxy"
)

const (
	describeWithin = 4 * time.Second  // players give up after 5
	lingerFor      = 30 * time.Second // of a pull that nobody watches
	writeWithin    = 10 * time.Second // one write to a player

	maxPacket   = 1472 // bytes of an RTP packet; gortsplib takes no more
	queuedPlays = 1024 // packets that may wait for a slow player; a power of two
	maxSources  = 256  // pulls at a time
)

// Routes finds the camera that a URL path names, and what of the path is left
// for the camera: nothing, or something with a leading slash. Errors for which a
// person can do something are a [*proxy.Error]. It is safe for concurrent use;
// [*proxy.Routes] is one.
type Routes interface {
	LookupPath(path string) (target proxy.Target, scheme, rest string, err error)
}

// A Server is the RTSP gateway. Its fields are not changed once it serves.
type Server struct {
	Dialer proxy.Dialer // reaches cameras; borrowed
	Routes Routes       // borrowed
	Log    *slog.Logger // nil discards
}

// Serve serves the players that ln accepts, over TCP and, to players on this
// machine, over UDP. It takes ownership of ln, whose connections must have a
// [*net.TCPAddr] as their remote address. Serve returns the cause of ctx or why ln
// failed. When it returns, everything it opened is closed, every camera was told
// with TEARDOWN, and every goroutine it started has returned. Serve is called
// once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := newGateway(s.Routes, log)
	listener := &playerListener{Listener: ln, failed: make(chan error, 1)}
	if err := g.start(listener); err != nil {
		return fmt.Errorf("rtsp: serve %v: %w", ln.Addr(), err)
	}
	defer g.server.Close() // waits for all players

	opener := &opener{dialer: s.Dialer, server: g.server, log: log}
	g.hub = newHub(opener.open, log)
	close(g.ready)

	var pulls sync.WaitGroup
	defer pulls.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pulls.Go(func() { g.hub.run(ctx) })

	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-listener.failed:
		return fmt.Errorf("rtsp: accept on %v: %w", ln.Addr(), err)
	}
}

// start starts the server, with UDP if there are ports for it.
func (g *gateway) start(ln net.Listener) error {
	g.server = &gortsplib.Server{
		Handler:                  g,
		RTSPAddress:              "127.0.0.1:0", // not used: Listen decides
		Listen:                   func(string, string) (net.Listener, error) { return ln, nil },
		WriteTimeout:             writeWithin,
		WriteQueueSize:           queuedPlays,
		MaxPacketSize:            maxPacket,
		DisableRTCPSenderReports: true, // the camera's own are passed on
	}
	ports, err := openPorts()
	if err != nil {
		g.log.Warn("players get no UDP", "err", err)
		return g.server.Start()
	}
	g.server.UDPRTPAddress = ports.rtp.LocalAddr().String()
	g.server.UDPRTCPAddress = ports.rtcp.LocalAddr().String()
	g.server.ListenPacket = ports.listen
	if err := g.server.Start(); err != nil {
		ports.Close()
		return err
	}
	return nil
}
