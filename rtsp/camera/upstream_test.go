package camera

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"peerway/rtsp/wire"
)

// halfPipe is one end of a [net.Pipe] that takes CloseWrite and does nothing.
type halfPipe struct{ net.Conn }

func (halfPipe) CloseWrite() error { return nil }

// joined is a gateway and a camera, spoken by hand, with a Splice between them.
type joined struct {
	gateway, camera net.Conn
	ended           chan error
}

func between(t *testing.T) *joined {
	near, stream := net.Pipe()
	conn, far := net.Pipe()
	u := &Upstream{conn: conn, dialogue: newDialogue(&base.URL{Scheme: "rtsp", Host: "10.0.0.1"})}
	j := &joined{gateway: near, camera: far, ended: make(chan error, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		defer stream.Close()
		defer u.Close()
		j.ended <- u.Splice(context.Background(), halfPipe{stream})
	})
	t.Cleanup(func() { near.Close(); far.Close(); serving.Wait() })
	return j
}

// A camera that accepts and says nothing, or too little, is told from a path that
// lets nothing through: the gateway hears of it before its own patience ends.
func TestSpliceGivesUpAMuteCamera(t *testing.T) {
	for name, says := range map[string]string{"nothing": "", "half an answer": "RTSP/1.0 200 OK\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := between(t)
				started := time.Now()
				io.WriteString(j.gateway, "DESCRIBE rtsp://camera RTSP/1.0\r\nCSeq: 1\r\n\r\n")
				wire.NewReader(j.camera).Next()
				io.WriteString(j.camera, says)
				part, err := wire.NewReader(j.gateway).Next()
				if err != nil {
					t.Fatal(err)
				}
				if got := string(part.Head); !strings.Contains(got, " 502 ") || !strings.Contains(got, "no answer within 10s") {
					t.Errorf("got %q", got)
				}
				if took := time.Since(started); took != answerWithin {
					t.Errorf("it took %v", took)
				}
				j.gateway.Close()
				if err := <-j.ended; !errors.Is(err, errNoAnswer) {
					t.Errorf("Splice returns %v", err)
				}
			})
		})
	}
}

// Once there is a session a camera may be silent: the gateway decides.
func TestSpliceWaitsForACameraWithASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := between(t)
		asked := wire.NewReader(j.camera)
		io.WriteString(j.gateway, "SETUP rtsp://camera RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n")
		asked.Next()
		io.WriteString(j.camera, "RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 1\r\n\r\n")
		wire.NewReader(j.gateway).Next()
		io.WriteString(j.gateway, "GET_PARAMETER rtsp://camera RTSP/1.0\r\nCSeq: 2\r\nSession: 1\r\n\r\n")
		asked.Next()
		select {
		case err := <-j.ended:
			t.Errorf("Splice ends: %v", err)
		case <-time.After(time.Hour):
		}
	})
}
