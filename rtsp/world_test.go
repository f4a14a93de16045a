package rtsp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"peerway/proxy"
	"peerway/rtsp"
	"peerway/rtsp/camera"
)

// A world has a gateway and the peer's end of cameras, joined by TCP on the
// loopback interface in place of a tunnel.
type world struct {
	addr  string
	log   lockedLog
	dials atomic.Int32
	spoke lockedLog // all that the peer sent to the gateway, media included

	routes  proxy.Routes
	cameras sync.Map     // of *camera.Camera, by service
	hole    atomic.Bool  // DialContext hangs
	stop    func() error // ends the gateway and returns what Serve returned
	life    context.Context
	peers   sync.WaitGroup
}

// newWorld starts a gateway that knows the peer "home" with these cameras.
func newWorld(t *testing.T, urls map[string]string) *world {
	t.Helper()
	w := new(world)
	services := []proxy.Entry{{Name: "web", Scheme: "http"}}
	for name, raw := range urls {
		c, err := camera.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		w.cameras.Store(name, c)
		services = append(services, proxy.Entry{Name: name, Scheme: "rtsp"})
	}
	w.routes.SetPeer("home", true, services)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	life, cancel := context.WithCancelCause(context.Background())
	w.life = life
	server := rtsp.Server{Dialer: w, Routes: &w.routes, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- server.Serve(life, smallBuffers{ln}) })
	w.stop = sync.OnceValue(func() error {
		cancel(errStop)
		serving.Wait()
		w.peers.Wait()
		return <-served
	})
	t.Cleanup(func() {
		if err := w.stop(); !errors.Is(err, errStop) {
			t.Errorf("Serve returns %v, want the cause of its context", err)
		}
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

// smallBuffers is a listener whose connections hold little: a slow player is
// noticed soon.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c.(*net.TCPConn).SetWriteBuffer(8 << 10)
	}
	return c, err
}

var errStop = errors.New("the test is over")

// DialContext is the tunnel and the peer.
func (w *world) DialContext(ctx context.Context, target proxy.Target, class proxy.Class) (proxy.Conn, error) {
	w.dials.Add(1)
	if class != proxy.Dedicated {
		return nil, errors.New("live video wants a lane of its own")
	}
	if w.hole.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c, _ := w.cameras.Load(target.Service)
	up, err := c.(*camera.Camera).Dial(ctx)
	if err != nil {
		return nil, &proxy.Error{Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: target, Reason: err.Error(), Err: err}
	}
	near, far, err := tcpPair()
	if err != nil {
		up.Close()
		return nil, err
	}
	w.peers.Go(func() {
		defer far.Close()
		defer up.Close()
		up.Splice(w.life, recorder{far, &w.spoke})
	})
	return near, nil
}

type recorder struct {
	*net.TCPConn
	log *lockedLog
}

func (r recorder) Write(p []byte) (int, error) {
	r.log.Write(p)
	return r.TCPConn.Write(p)
}

func tcpPair() (a, b *net.TCPConn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	far, err := ln.Accept()
	if err != nil {
		near.Close()
		return nil, nil, err
	}
	return near.(*net.TCPConn), far.(*net.TCPConn), nil
}

func (w *world) url(path string) string { return "rtsp://" + w.addr + path }

// ask makes a request as a player would and returns the whole answer.
func (w *world) ask(t *testing.T, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "%s RTSP/1.0\r\nCSeq: 1\r\n\r\n", request)
	return readAnswer(t, bufio.NewReader(c))
}

func readAnswer(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var answer strings.Builder
	size := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Errorf("after %q: %v", answer.String(), err)
			break
		}
		answer.WriteString(line)
		fmt.Sscanf(line, "Content-Length: %d", &size)
		if line == "\r\n" {
			break
		}
	}
	io.CopyN(&answer, r, int64(size))
	return answer.String()
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A hand is a player that is played by hand.
type hand struct {
	net.Conn
	in      *bufio.Reader
	url     string
	session string
}

func dial(t *testing.T, w *world) *hand {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &hand{Conn: c, in: bufio.NewReaderSize(c, 16), url: w.url("/home/cam")}
}

func (h *hand) do(t *testing.T, request, headers string) string {
	t.Helper()
	fmt.Fprintf(h, "%s RTSP/1.0\r\nCSeq: 1\r\n%s\r\n", request, headers)
	answer := readAnswer(t, h.in)
	if !strings.HasPrefix(answer, "RTSP/1.0 200 ") {
		t.Errorf("%s: %s", request, answer)
	}
	return answer
}

func (h *hand) setup(t *testing.T) {
	t.Helper()
	answer := h.do(t, "SETUP "+h.url+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
	h.keep(answer)
}

// keep takes the session from an answer.
func (h *hand) keep(answer string) {
	_, session, _ := strings.Cut(answer, "\r\nSession: ")
	h.session, _, _ = strings.Cut(session, ";")
}

func (h *hand) sessionLine() string {
	if h.session == "" {
		return ""
	}
	return "Session: " + h.session + "\r\n"
}

func (h *hand) play(t *testing.T) {
	t.Helper()
	if h.session == "" {
		h.do(t, "DESCRIBE "+h.url, "")
		h.setup(t)
	}
	h.do(t, "PLAY "+h.url+"/", h.sessionLine())
}

// watch plays by hand and leaves in one of five ways.
func watch(t *testing.T, w *world, way int) {
	t.Helper()
	h := dial(t, w)
	defer h.Close()
	h.do(t, "DESCRIBE "+h.url, "")
	if way == 0 {
		return
	}
	h.setup(t)
	if way == 1 {
		return
	}
	h.play(t)
	if way == 2 {
		return
	}
	if _, err := io.ReadFull(h.in, make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	if way == 3 {
		h.Conn.(*net.TCPConn).SetLinger(0) // a reset
		return
	}
	fmt.Fprintf(h, "TEARDOWN %s/ RTSP/1.0\r\nCSeq: 2\r\nSession: %s\r\n\r\n", h.url, h.session)
}

// report returns the first sender report within so many frames, and the SSRC of
// the media.
func (h *hand) report(t *testing.T, within int) (rtcp.SenderReport, uint32) {
	t.Helper()
	var report rtcp.SenderReport
	var ssrc uint32
	for range within {
		header := make([]byte, 4)
		if _, err := io.ReadFull(h.in, header); err != nil {
			t.Fatal(err)
		}
		packet := make([]byte, int(header[2])<<8|int(header[3]))
		if _, err := io.ReadFull(h.in, packet); err != nil {
			t.Fatal(err)
		}
		if header[1] == 0 {
			ssrc = binary.BigEndian.Uint32(packet[8:])
		} else if report.Unmarshal(packet) != nil {
			report = rtcp.SenderReport{}
		}
		if report.SSRC != 0 && ssrc != 0 {
			return report, ssrc
		}
	}
	t.Fatalf("no report within %d frames", within)
	return report, ssrc
}
