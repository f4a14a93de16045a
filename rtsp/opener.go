package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"peerway/proxy"
	"peerway/rtsp/camera"
)

// answerWithin bounds the dial through the tunnel and each answer of a camera.
const answerWithin = 15 * time.Second

// An opener opens pulls of cameras.
type opener struct {
	dialer proxy.Dialer
	server *gortsplib.Server
	log    *slog.Logger
}

// A feed is a pull: a client of the camera and the stream that it fills.
type feed struct {
	client *gortsplib.Client
	server *gortsplib.ServerStream
	log    *slog.Logger
	place  place
	reason string     // what the peer said about the last refusal; the client's
	conn   proxy.Conn // to the camera; nil: none yet

	heardAt  atomic.Int64 // Unix nanoseconds
	tooLarge bool         // said already; the reader's
	ended    chan struct{}
	cause    error // of the end; after ended
	waiting  sync.WaitGroup

	mu      sync.Mutex
	tracks  map[format.Format]*sent
	reports map[format.Format]rtcp.SenderReport // the last ones, as passed on
}

// sent is what is known of a track's packets.
type sent struct {
	ssrc     uint32   // of the camera
	splitter splitter // the reader's
}

// newFeed returns a feed without a client.
func newFeed(at place, log *slog.Logger) *feed {
	return &feed{
		place:   at,
		log:     log,
		ended:   make(chan struct{}),
		tracks:  make(map[format.Format]*sent),
		reports: make(map[format.Format]rtcp.SenderReport),
	}
}

// open dials a camera and starts its stream. Its errors are a [*proxy.Error].
func (o *opener) open(ctx context.Context, at place, reached func()) (pull, error) {
	u := camera.URL(at.path, at.query)
	f := newFeed(at, o.log.With("peer", at.target.Peer, "service", at.target.Service))
	f.client = o.client(u, f, reached)
	if err := f.client.Start2(); err != nil {
		return nil, failure(at, "", err)
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { f.client.Close(); close(done) })
	err := f.begin(o.server, u)
	if !stop() {
		<-done
		err = context.Cause(ctx)
	}
	if err != nil {
		f.close()
		return nil, failure(at, f.reason, err)
	}
	f.waiting.Go(func() {
		f.cause = f.client.Wait()
		close(f.ended)
	})
	return f, nil
}

// client returns the client of a feed.
func (o *opener) client(u *base.URL, f *feed, reached func()) *gortsplib.Client {
	tcp := gortsplib.TransportTCP
	return &gortsplib.Client{
		Scheme: u.Scheme, Host: u.Host,
		Transport:    &tcp,
		ReadTimeout:  answerWithin,
		WriteTimeout: writeWithin,
		UserAgent:    "Peerway",
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := o.dialer.DialContext(ctx, f.place.target, proxy.Dedicated)
			if err != nil {
				return nil, err
			}
			reached()
			f.conn = c
			return newCameraConn(c), nil
		},
		OnResponse:        f.answer,
		OnDecodeError:     func(err error) { f.log.Debug("camera sent an odd packet", "err", err) },
		OnPacketsLost:     func(uint64) {}, // gortsplib would print these
		OnTransportSwitch: func(error) {},
	}
}

// answer looks at an answer before gortsplib does.
func (f *feed) answer(res *base.Response) {
	if 300 <= res.StatusCode && res.StatusCode < 400 {
		res.StatusCode = base.StatusBadGateway // gortsplib would follow it, for ever
	}
	if res.StatusCode < 400 {
		return
	}
	f.reason = ""
	if v := res.Header[camera.ReasonHeader]; len(v) == 1 {
		f.reason = camera.Printable(v[0])
	}
}

// begin makes the camera send into a new stream of the server.
func (f *feed) begin(server *gortsplib.Server, u *base.URL) error {
	desc, _, err := f.client.Describe(u)
	if err != nil {
		return err
	}
	if desc.Medias, err = f.setup(desc); err != nil {
		return err
	}
	desc.FECGroups = nil // they may name tracks that are left out
	stream := &gortsplib.ServerStream{Server: server, Desc: desc}
	if err := stream.Initialize(); err != nil {
		return err
	}
	f.server = stream
	stats := stream.Stats()
	f.client.OnPacketRTPAny(f.media)
	f.client.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		if report, ok := p.(*rtcp.SenderReport); ok {
			f.report(m, *report, stats.Medias[m].Formats)
		}
	})
	f.heardAt.Store(time.Now().UnixNano())
	_, err = f.client.Play(nil)
	return err
}

// setup sets up what the camera sends and returns it. A track that the camera
// refuses is left out if there are others.
func (f *feed) setup(desc *description.Session) (medias []*description.Media, err error) {
	for _, m := range watchable(desc.Medias) {
		if _, err = f.client.Setup(desc.BaseURL, m, 0, 0); err == nil {
			medias = append(medias, m)
		} else if _, refused := errors.AsType[liberrors.ErrClientBadStatusCode](err); !refused {
			return nil, err
		}
	}
	if len(medias) == 0 && err == nil {
		err = errNoTracks
	}
	if len(medias) == 0 {
		return nil, err
	}
	return medias, nil
}

// watchable returns the tracks that the camera sends. Some cameras mark all of
// their tracks as directed to them: then the marks mean nothing.
func watchable(medias []*description.Media) (sent []*description.Media) {
	for _, m := range medias {
		if !m.IsBackChannel {
			sent = append(sent, m)
		}
	}
	if len(sent) > 0 {
		return sent
	}
	for _, m := range medias {
		m.IsBackChannel = false
	}
	return medias
}

// media passes on a packet. It is called from the client's reader and never
// waits: a player that is slow loses packets, see OnStreamWriteError.
func (f *feed) media(m *description.Media, format format.Format, p *rtp.Packet) {
	f.heardAt.Store(time.Now().UnixNano())
	size := p.MarshalSize()
	fitting := f.splitter(format, p.SSRC).fit(format, p)
	for _, p := range fitting {
		f.server.WritePacketRTP(m, p) // fails only when the stream is being closed
	}
	if len(fitting) == 0 && !f.tooLarge {
		f.tooLarge = true
		f.log.Warn("camera sends packets that are too large for players and are left out", "bytes", size)
	}
}

// splitter returns the splitter of a format and remembers its SSRC.
func (f *feed) splitter(format format.Format, ssrc uint32) *splitter {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tracks[format]
	if t == nil {
		t = new(sent)
		f.tracks[format] = t
	}
	t.ssrc = ssrc
	return &t.splitter
}

// report passes on the camera's own sender report, so that players see its clock
// exactly. Only the SSRC is the stream's.
func (f *feed) report(m *description.Media, r rtcp.SenderReport, formats map[format.Format]gortsplib.ServerStreamStatsFormat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, format := range m.Formats {
		t := f.tracks[format]
		if len(m.Formats) > 1 && (t == nil || t.ssrc != r.SSRC) {
			continue
		}
		r.SSRC = formats[format].LocalSSRC
		r.Reports, r.ProfileExtensions = nil, nil
		f.reports[format] = r
		f.server.WritePacketRTCP(m, &r)
		return
	}
}

// welcome gives a player that is about to play the last sender reports: it need
// not wait for the next ones to know the time. It is called from OnPlay.
func (f *feed) welcome(player *gortsplib.ServerSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range player.SetuppedMedias() {
		for _, format := range m.Formats {
			if r, ok := f.reports[format]; ok {
				player.WritePacketRTCP(m, &r)
			}
		}
	}
}

func (f *feed) stream() *gortsplib.ServerStream { return f.server }
func (f *feed) gone() <-chan struct{}           { return f.ended }
func (f *feed) heard() time.Time                { return time.Unix(0, f.heardAt.Load()) }
func (f *feed) err() error                      { return failure(f.place, "", f.cause) }

func (f *feed) peerHeard() (at time.Time) {
	if c, ok := f.conn.(interface{ Heard() time.Time }); ok {
		at = c.Heard()
	}
	return at
}

func (f *feed) cut() { proxy.Abort(f.conn) }

// farewellFor is how long players get to receive the last packets.
const farewellFor = 100 * time.Millisecond

// close ends the camera's session with TEARDOWN, tells the players that the
// stream is over, and ends theirs.
func (f *feed) close() {
	f.client.Close()
	f.waiting.Wait()
	if f.server == nil {
		return
	}
	stats, told := f.server.Stats(), false
	for m, s := range stats.Medias {
		bye := &rtcp.Goodbye{}
		for _, format := range s.Formats {
			bye.Sources = append(bye.Sources, format.LocalSSRC)
		}
		told = f.server.WritePacketRTCP(m, bye) == nil && s.BytesSent > 0 || told
	}
	if told {
		time.Sleep(farewellFor) // gortsplib cannot say when its queues are empty
	}
	f.server.Close()
}
