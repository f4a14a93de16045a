package camera_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/proxy"
	"peerway/rtsp/camera"
	"peerway/rtsp/rtsptest"
	"peerway/rtsp/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

func parse(t testing.TB, raw string) *camera.Camera {
	t.Helper()
	c, err := camera.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParse(t *testing.T) {
	for raw, want := range map[string]string{
		"rtsp://u:p%40ss@10.0.0.1/secret?user=a&password=b": "rtsp://10.0.0.1:554",
		"rtsp://[fe80::1]:8554/x":                           "rtsp://[fe80::1]:8554",
		"rtsps://cam.lan":                                   "rtsps://cam.lan:322",
		"rtsps+insecure://cam.lan:1/x":                      "rtsps://cam.lan:1",
	} {
		if got := parse(t, raw).String(); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
	for _, raw := range []string{
		"", "http://u:SECRET@h/", "rtsp://u:SE/CRET@h/x", "rtsp://u:SECRET", "rtsp://u:SECRET@/x",
		"rtsp://u:%SECRET@h/x", "rtsp://u:SECRET@h/#x", "rtsp:SECRET", "rtsp://u:SEC RET@h:SECRET/",
	} {
		if _, err := camera.Parse(raw); err == nil {
			t.Errorf("%q is taken", raw)
		} else if strings.Contains(err.Error(), "CRET") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestCheck(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	open, basic, digest := rtsptest.StartCamera(t, "none"), rtsptest.StartCamera(t, "basic"), rtsptest.StartCamera(t, "digest")
	for name, c := range map[string]struct{ url, want string }{
		"open":                  {open.URL(""), ""},
		"open with credentials": {open.URL("a:b"), ""},
		"basic":                 {basic.URL(rtsptest.UserInfo), ""},
		"digest":                {digest.URL(rtsptest.UserInfo), ""},
		"no password":           {digest.URL(""), "the camera wants a password"},
		"wrong password":        {digest.URL("admin:wrong"), "refuses the user name or password"},
		"wrong password, basic": {basic.URL("admin:wrong"), "refuses the user name or password"},
		"wrong path":            {open.URL("") + "/other", "no such stream: the camera answers 404"},
		"nobody there":          {"rtsp://" + refused.Addr().String(), "connection refused by " + refused.Addr().String()},
		"not RTSP":              {"rtsp://" + silent(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "it speaks HTTP, not RTSP"},
	} {
		t.Run(name, func(t *testing.T) {
			err := parse(t, c.url).Check(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "wrong") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
	open.WantIdle(t)
	digest.WantIdle(t)
}

// silent returns the address of a server that says one thing when it is asked,
// and hangs up.
func silent(t *testing.T, what string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return rtsptest.Serve(t, ln, func(c net.Conn) {
		wire.NewReader(c).Next() // what is unread at the end may cut off the answer
		io.WriteString(c, what)
	})
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no time")
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := parse(t, "rtsp://"+ln.Addr().String()).Check(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

// A gateway is the other end of a stream, spoken by hand.
type gateway struct {
	net.Conn
	in     *wire.Reader
	number int
	spoken bytes.Buffer // all that came from the peer but media
}

// splice joins a gateway with a camera. The error of Splice comes out of the
// channel.
func splice(t *testing.T, ctx context.Context, c *camera.Camera) (*gateway, <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	up, err := c.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		defer far.Close()
		defer up.Close()
		ended <- up.Splice(ctx, far.(*net.TCPConn))
	})
	t.Cleanup(func() { near.Close(); serving.Wait() })
	near.SetDeadline(time.Now().Add(20 * time.Second))
	return &gateway{Conn: near, in: wire.NewReader(near)}, ended
}

var _ proxy.Conn = (*net.TCPConn)(nil)

// do makes a request and returns the first line of the answer and a header of
// it.
func (g *gateway) do(t *testing.T, request, headers, header string) (status, value string) {
	t.Helper()
	g.number++
	fmt.Fprintf(g, "%s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n", request, g.number, headers)
	for {
		part, err := g.in.Next()
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		if part.Frame != nil {
			continue
		}
		g.spoken.Write(part.Head)
		g.spoken.Write(part.Body)
		lines := bufio.NewScanner(bytes.NewReader(part.Head))
		for i := 0; lines.Scan(); i++ {
			if i == 0 {
				status = lines.Text()
			} else if v, ok := strings.CutPrefix(lines.Text(), header+": "); ok {
				value = v
			}
		}
		return status, value
	}
}

// play starts the camera's stream and returns the session's name.
func (g *gateway) play(t *testing.T) (session string) {
	t.Helper()
	g.do(t, "OPTIONS rtsp://camera", "", "")
	g.do(t, "DESCRIBE rtsp://camera", "Accept: application/sdp\r\n", "")
	_, session = g.do(t, "SETUP rtsp://camera/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", "Session")
	session, _, _ = strings.Cut(session, ";")
	if status, _ := g.do(t, "PLAY rtsp://camera/", "Session: "+session+"\r\n", ""); status != "RTSP/1.0 200 OK" {
		t.Fatalf("PLAY is answered with %q", status)
	}
	for frames := 0; frames < 5; {
		part, err := g.in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if part.Frame != nil {
			frames++
		}
	}
	return session
}

func TestSpliceEndsTheCamerasSession(t *testing.T) {
	cause := errors.New("the peer stops")
	for name, c := range map[string]struct {
		end  func(*testing.T, *gateway, string, context.CancelCauseFunc)
		want error
	}{
		"gateway says so": {func(t *testing.T, g *gateway, session string, _ context.CancelCauseFunc) {
			if status, _ := g.do(t, "TEARDOWN rtsp://camera/", "Session: "+session+"\r\n", ""); status != "RTSP/1.0 200 OK" {
				t.Errorf("TEARDOWN is answered with %q", status)
			}
		}, nil},
		"gateway says so and leaves": {func(_ *testing.T, g *gateway, session string, _ context.CancelCauseFunc) {
			fmt.Fprintf(g, "TEARDOWN rtsp://camera/ RTSP/1.0\r\nCSeq: 9\r\nSession: %s\r\n\r\n", session)
			g.Conn.(*net.TCPConn).CloseWrite()
		}, nil},
		"gateway leaves": {func(_ *testing.T, g *gateway, _ string, _ context.CancelCauseFunc) {
			g.Conn.(*net.TCPConn).CloseWrite()
		}, nil},
		"gateway is gone": {func(_ *testing.T, g *gateway, _ string, _ context.CancelCauseFunc) { g.Close() }, errAny},
		"peer stops":      {func(_ *testing.T, _ *gateway, _ string, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
	} {
		t.Run(name, func(t *testing.T) {
			cam := rtsptest.StartCamera(t, "digest")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			g, ended := splice(t, ctx, parse(t, cam.URL(rtsptest.UserInfo)))
			session := g.play(t)
			c.end(t, g, session, cancel)
			var err error
			select {
			case err = <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("Splice does not end")
			}
			if c.want != errAny && !errors.Is(err, c.want) {
				t.Errorf("Splice returns %v, want %v", err, c.want)
			}
			cam.WantIdle(t)
			if s := cam.Stat(t); s.Teardowns != 1 {
				t.Errorf("the camera saw %d TEARDOWN", s.Teardowns)
			}
			for _, secret := range []string{rtsptest.Password, rtsptest.User, "nonce", "Digest", fmt.Sprint(cam.Port)} {
				if strings.Contains(g.spoken.String(), secret) {
					t.Errorf("the gateway learns %q:\n%s", secret, g.spoken.String())
				}
			}
		})
	}
}

var errAny = errors.New("any error or none")

func TestSpliceEndsWithTheCamera(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	g, ended := splice(t, t.Context(), parse(t, cam.URL("")))
	g.play(t)
	cam.Kill()
	for {
		if _, err := g.in.Next(); err != nil {
			break
		}
	}
	if err := <-ended; err == nil {
		t.Error("Splice says nothing about the camera's end")
	}
}

// Whoever asks learns why the camera does not answer, and nothing of its address.
func TestSpliceSaysWhyTheCameraDoesNotAnswer(t *testing.T) {
	for name, c := range map[string]struct{ says, want string }{
		"HTTP":         {"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks HTTP, not RTSP"},
		"noise":        {strings.Repeat("\xde\xad", 1<<16), "not RTSP"},
		"cut short":    {"RTSP/1.0 200 OK\r\n", "hung up without an answer"},
		"nothing":      {"", "hung up without an answer"},
		"endless head": {"RTSP/1.0 200 OK\r\nX: " + strings.Repeat("x", 1<<17), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			address := silent(t, c.says)
			g, ended := splice(t, t.Context(), parse(t, "rtsp://"+address))
			status, reason := g.do(t, "DESCRIBE rtsp://camera", "", camera.ReasonHeader)
			if status != "RTSP/1.0 502 Bad Gateway" || !strings.Contains(reason, c.want) {
				t.Errorf("got %q, %q, want %q", status, reason, c.want)
			}
			if strings.Contains(g.spoken.String(), address) {
				t.Errorf("the gateway learns the address: %s", g.spoken.String())
			}
			g.Close()
			if err := <-ended; err == nil {
				t.Error("Splice says nothing about it")
			}
		})
	}
}

// A camera that reads nothing does not hold up the end of the process.
func TestSpliceEndsWithADeafCamera(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the end")
	g, done := splice(t, ctx, parse(t, "rtsp://"+ln.Addr().String()))
	request := []byte("SET_PARAMETER rtsp://camera RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000))
	for {
		g.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := g.Write(request); err != nil {
			break // the queues are full up to here
		}
	}
	started := time.Now()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestSpliceRefusesUDP(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	g, _ := splice(t, t.Context(), parse(t, cam.URL("")))
	g.do(t, "DESCRIBE rtsp://camera", "", "")
	if status, _ := g.do(t, "SETUP rtsp://camera/trackID=0", "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n", ""); status != "RTSP/1.0 461 Unsupported Transport" {
		t.Errorf("got %q", status)
	}
}

func TestSpliceEndsOnJunk(t *testing.T) {
	cam := rtsptest.StartCamera(t, "none")
	for _, junk := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("X", 1<<20), "PLAY x RTSP/1.0\r\nContent-Length: 9999999\r\n\r\n"} {
		g, ended := splice(t, t.Context(), parse(t, cam.URL("")))
		io.WriteString(g, junk)
		if err := <-ended; err == nil {
			t.Errorf("%.20q is no error", junk)
		}
	}
	cam.WantIdle(t)
}
