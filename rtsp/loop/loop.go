package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtp"
)

// Config configures a [Camera].
type Config struct {
	Listen   string       // loopback address; empty means 127.0.0.1 and a free port
	Path     string       // of the stream, without a slash in front; empty means "cam"
	User     string       // asked of viewers; empty means that nobody is asked
	Password string       // of User
	Log      *slog.Logger // nil discards
}

// A Camera serves the clip over RTSP, interleaved in the TCP connection.
type Camera struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{}
	local string // address of the listener; set before ready is closed
}

// New returns a Camera for cfg. It acquires nothing.
func New(cfg Config) *Camera {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Path == "" {
		cfg.Path = "cam"
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Camera{cfg: cfg, log: log, ready: make(chan struct{})}
}

// Ready is closed when the camera accepts viewers. It stays open if Run fails
// before that.
func (c *Camera) Ready() <-chan struct{} { return c.ready }

// URL returns the address of the stream with the user and password in it. It
// may be called after Ready.
func (c *Camera) URL() string {
	u := url.URL{Scheme: "rtsp", Host: c.local, Path: "/" + c.cfg.Path}
	if c.cfg.User != "" {
		u.User = url.UserPassword(c.cfg.User, c.cfg.Password)
	}
	return u.String()
}

// Run serves until ctx is done or the listener fails. It may be called once.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned.
func (c *Camera) Run(ctx context.Context) error {
	film, err := parse(embedded)
	if err != nil {
		return fmt.Errorf("loop: %w", err)
	}
	h := &handler{cfg: c.cfg}
	server := &gortsplib.Server{
		Handler:     h,
		RTSPAddress: c.cfg.Listen,
		Listen: func(network, address string) (net.Listener, error) {
			ln, err := net.Listen(network, address)
			if err == nil {
				c.local = ln.Addr().String()
			}
			return ln, err
		},
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("loop: %w", err)
	}
	defer server.Close()

	medias := describe(film)
	stream := &gortsplib.ServerStream{Server: server, Desc: &description.Session{Title: "Peerway", Medias: medias}}
	if err := stream.Initialize(); err != nil {
		return fmt.Errorf("loop: %w", err)
	}
	defer stream.Close()
	h.stream.Store(stream)

	close(c.ready)
	c.log.Debug("built-in camera is open", "local", c.local)
	return play(ctx, film, stream)
}

// describe returns the two medias of film, as an SDP lists them.
func describe(film *clip) []*description.Media {
	return []*description.Media{
		video: {Type: description.MediaTypeVideo, Formats: []format.Format{&format.H264{
			PayloadTyp: 96, PacketizationMode: 1, SPS: film.sps, PPS: film.pps,
		}}},
		audio: {Type: description.MediaTypeAudio, Formats: []format.Format{&format.MPEG4Audio{
			PayloadTyp: 97, Config: &film.audio, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3,
		}}},
	}
}

// A sender puts the units of one track into packets.
type sender struct {
	media  *description.Media
	rate   int64  // RTP clock, per second
	start  uint32 // RTP timestamp of the first unit, random (RFC 3550, 5.1)
	encode func(data [][]byte) ([]*rtp.Packet, error)
}

// timestamp returns the RTP timestamp of a unit that is due at after the start.
// It rounds: due times are in whole nanoseconds, RTP clocks are not.
func (s *sender) timestamp(at time.Duration) uint32 {
	seconds, rest := int64(at/time.Second), int64(at%time.Second)
	ticks := seconds*s.rate + (rest*s.rate+int64(time.Second)/2)/int64(time.Second)
	return s.start + uint32(ticks) // wraps, as RTP timestamps do
}

func senders(medias []*description.Media) (_ [2]sender, err error) {
	h264, err := medias[video].Formats[0].(*format.H264).CreateEncoder()
	if err != nil {
		return [2]sender{}, err
	}
	aac := medias[audio].Formats[0].(*format.MPEG4Audio)
	frames, err := aac.CreateEncoder()
	if err != nil {
		return [2]sender{}, err
	}
	return [2]sender{
		video: {medias[video], videoRate, rand.Uint32(), h264.Encode},
		audio: {medias[audio], int64(aac.Config.SampleRate), rand.Uint32(), frames.Encode},
	}, nil
}

// play sends film to the viewers of stream in real time, again and again, until
// ctx is done.
func play(ctx context.Context, film *clip, stream *gortsplib.ServerStream) error {
	tracks, err := senders(stream.Desc.Medias)
	if err != nil {
		return fmt.Errorf("loop: %w", err)
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		u, at := film.unit(n)
		if late := time.Since(start.Add(at)); late > time.Second {
			start = start.Add(late) // the machine slept: go on, do not catch up
		}
		s := &tracks[u.track]
		packets, err := s.encode(u.data)
		if err != nil {
			return fmt.Errorf("loop: %w", err)
		}
		for _, p := range packets {
			p.Timestamp = s.timestamp(at)
			err := stream.WritePacketRTPWithNTP(s.media, p, start.Add(at))
			if terminated, ok := errors.AsType[liberrors.ErrServerStreamClosed](err); ok {
				return fmt.Errorf("loop: %w", terminated)
			} // any other error is one slow viewer's
		}
		_, next := film.unit(n + 1)
		timer.Reset(time.Until(start.Add(next)))
	}
}
