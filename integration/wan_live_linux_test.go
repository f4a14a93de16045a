package integration_test

import (
	"context"
	bits "encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"

	"peerway/integration/natlab"
)

// Live video is measured with a film that nobody encodes and nobody decodes: a
// camera that sends packets at an exact rate, with the time at which each picture
// was due, and a viewer that notes when they come.

const (
	liveGap     = time.Second / 25 // between two pictures
	liveGroup   = 50               // pictures from one key picture to the next
	liveKey     = 4                // a key picture is so many times as large as another
	livePayload = 1400             // bytes of a packet
	liveClock   = 90000            // RTP clock of video, per second
)

// startLive starts a camera on a host that sends so many bits per second, RTP
// headers not counted, and returns its URL. It ends with the test.
func startLive(t testing.TB, at *natlab.Host, rate int64) (url string) {
	t.Helper()
	h := &liveHandler{}
	server := &gortsplib.Server{
		Handler:        h,
		RTSPAddress:    net.JoinHostPort(at.Addr().String(), "8554"),
		WriteQueueSize: 1024, // packets; what does not fit is lost, as in any camera
	}
	server.Listen = func(network, address string) (ln net.Listener, err error) {
		err = at.Do(func() (err error) { ln, err = net.Listen(network, address); return err })
		return ln, err
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	media := &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{&format.H264{PayloadTyp: 96, PacketizationMode: 1}}}
	stream := &gortsplib.ServerStream{Server: server, Desc: &description.Session{Medias: []*description.Media{media}}}
	if err := stream.Initialize(); err != nil {
		t.Fatal(err)
	}
	h.stream.Store(stream)
	ctx, stop := context.WithCancel(context.Background())
	var film sync.WaitGroup
	film.Go(func() { sendLive(ctx, stream, rate) })
	t.Cleanup(func() {
		stop()
		film.Wait()
		stream.Close()
	})
	return "rtsp://" + server.RTSPAddress + "/live"
}

// sendLive sends the film to all viewers until ctx is done.
func sendLive(ctx context.Context, stream *gortsplib.ServerStream, rate int64) {
	// All pictures of a group together have what the rate allows.
	group := rate / 8 * int64(liveGroup*liveGap) / int64(time.Second)
	small := group / (liveGroup - 1 + liveKey)
	start, ticker := time.Now(), time.NewTicker(liveGap)
	defer ticker.Stop()
	var seq uint16
	for n := 0; ; n++ {
		size := small
		if n%liveGroup == 0 {
			size *= liveKey
		}
		at := time.Duration(n) * liveGap
		for rest := size; rest > 0; rest -= livePayload {
			payload := make([]byte, min(rest, livePayload))
			payload[0] = 1 // a slice of a picture (RFC 6184): no player looks closer
			seq++
			_ = stream.WritePacketRTPWithNTP(stream.Desc.Medias[0], &rtp.Packet{ // an error is one slow viewer's
				Header: rtp.Header{
					Version: 2, PayloadType: 96, SequenceNumber: seq,
					Timestamp: uint32(at * liveClock / time.Second),
					Marker:    rest <= livePayload,
				},
				Payload: payload,
			}, start.Add(at))
		}
		// A tick that was missed is made up for at once: the film is as long as
		// the time that passed.
		for time.Since(start) < at+liveGap {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// A liveHandler answers the requests of viewers.
type liveHandler struct {
	stream atomic.Pointer[gortsplib.ServerStream]
}

func (h *liveHandler) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, h.stream.Load(), nil
}

func (h *liveHandler) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, h.stream.Load(), nil
}

func (h *liveHandler) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnStreamWriteError is told of each packet that a viewer has lost. Without it
// the library logs them all.
func (h *liveHandler) OnStreamWriteError(*gortsplib.ServerHandlerOnStreamWriteErrorCtx) {}

// A livePacket is one packet of the film as the viewer got it.
type livePacket struct {
	at        time.Time
	size      int // of the payload
	seq       uint16
	timestamp uint32
	last      bool // of its picture
}

// A liveViewer watches the film until close, or the test, ends it, and remembers
// what came.
// It is safe for concurrent use.
type liveViewer struct {
	t       testing.TB
	mu      sync.Mutex
	packets []livePacket
	failure error  // why it has ended
	close   func() // stops watching; may be called again
}

// watchLive watches a film of startLive on a host, over TCP.
func watchLive(t testing.TB, at *natlab.Host, url string) *liveViewer {
	t.Helper()
	var c *rawRTSP
	err := at.Do(func() (err error) { c, err = dialRTSP(url); return err })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.play(); err != nil {
		c.conn.Close()
		t.Fatal(err)
	}
	_ = c.conn.SetDeadline(time.Time{})
	v := &liveViewer{t: t}
	var reading sync.WaitGroup
	reading.Go(func() {
		err := v.read(c.reader)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.failure = err
	})
	v.close = func() {
		c.conn.Close()
		reading.Wait()
	}
	t.Cleanup(v.close)
	return v
}

// read notes the interleaved packets of channel 0.
func (v *liveViewer) read(r io.Reader) error {
	head, body := make([]byte, 4), make([]byte, 1<<16)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		if head[0] != '$' {
			return fmt.Errorf("no packet but %q", head)
		}
		packet := body[:bits.BigEndian.Uint16(head[2:])]
		if _, err := io.ReadFull(r, packet); err != nil {
			return err
		}
		if head[1] != 0 || len(packet) < 12 {
			continue // RTCP
		}
		p := livePacket{
			at: time.Now(), size: len(packet) - 12, last: packet[1]&0x80 != 0,
			seq: bits.BigEndian.Uint16(packet[2:]), timestamp: bits.BigEndian.Uint32(packet[4:]),
		}
		v.mu.Lock()
		v.packets = append(v.packets, p)
		v.mu.Unlock()
	}
}

// liveFigures say how a part of the film has come.
type liveFigures struct {
	mbit          float64 // Mbit/s of payload
	packets, lost int
	// How much later the last packet of a picture came than that of the picture
	// of the whole film, so far, that came soonest for its time.
	p50, p95, max time.Duration
	gap           time.Duration // the longest time between two packets
}

// figures returns how the film came between two points of time. It fails the
// test if the viewer's connection has ended.
func (v *liveViewer) figures(from, to time.Time) (f liveFigures) {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failure != nil && !errors.Is(v.failure, net.ErrClosed) {
		v.t.Errorf("the viewer has stopped: %v", v.failure)
	}
	if len(v.packets) == 0 {
		return f
	}
	first, soonest := v.packets[0], time.Duration(math.MaxInt64)
	// late is relative to the first packet; timestamps may have wrapped.
	late := func(p livePacket) time.Duration {
		return p.at.Sub(first.at) - time.Duration(int32(p.timestamp-first.timestamp))*time.Second/liveClock
	}
	var delays []time.Duration
	previous := livePacket{at: from}
	bytes := 0
	for i, p := range v.packets {
		if p.last {
			soonest = min(soonest, late(p))
		}
		if p.at.Before(from) || p.at.After(to) {
			continue
		}
		if f.packets++; f.packets > 1 && i > 0 {
			f.lost += int(p.seq - previous.seq - 1)
		}
		f.gap = max(f.gap, p.at.Sub(previous.at))
		previous = p
		bytes += p.size
		if p.last {
			delays = append(delays, late(p))
		}
	}
	f.gap = max(f.gap, to.Sub(previous.at))
	f.mbit = float64(bytes) * 8 / 1e6 / to.Sub(from).Seconds()
	if len(delays) > 0 {
		slices.Sort(delays)
		at := func(share float64) time.Duration { return delays[int(share*float64(len(delays)-1))] - soonest }
		f.p50, f.p95, f.max = at(0.5), at(0.95), at(1)
	}
	return f
}

// during lets so much time pass and returns when that was. A measurement has no
// event to wait for.
func during(t testing.TB, long time.Duration) (from, to time.Time) {
	t.Helper()
	from = time.Now()
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.FailNow()
	}
	return from, time.Now()
}
