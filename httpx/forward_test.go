package httpx_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"peerway/proxy"
)

func TestForward(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Method, r.Host, r.URL.RequestURI())
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "User-Agent", "Accept-Encoding", "X-Hop"} {
			fmt.Fprintf(w, "%s: %q\n", name, r.Header.Values(name))
		}
	})
	_, got := g.get(t, "http://web.home.localhost:7480/a%2Fb/../c?x=1;y&z=%", "X-Forwarded-For", "6.6.6.6", "Forwarded", "for=6.6.6.6",
		"User-Agent", "", "Connection", "X-Hop", "X-Hop", "1")
	want := `GET web.home.localhost:7480 /a%2Fb/../c?x=1;y&z=%
X-Forwarded-For: ["127.0.0.1"]
X-Forwarded-Host: ["web.home.localhost:7480"]
X-Forwarded-Proto: ["http"]
Forwarded: []
User-Agent: []
Accept-Encoding: []
X-Hop: []
`
	if got != want {
		t.Errorf("the web server sees\n%s\nwant\n%s", got, want)
	}
	for range 10 {
		g.get(t, "http://web.localhost/")
	}
	if n := g.peers.dialed.Load(); n != 1 {
		t.Errorf("%d streams for requests in a row, want 1", n)
	}
}

// What the web server does not say, the gateway does not add.
func TestForwardNoType(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>maybe")
	})
	if res, _ := g.get(t, "http://web.home.localhost/"); res.Header["Content-Type"] != nil {
		t.Errorf("the answer is typed %q", res.Header["Content-Type"])
	}
}

func TestForwardRangesAndHead(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "video.mp4", time.Unix(1e9, 0), strings.NewReader(content))
	})
	res, body := g.get(t, "http://web.home.localhost/", "Range", "bytes=5-14")
	if res.StatusCode != 206 || body != "5678901234" || res.Header.Get("Content-Range") != "bytes 5-14/10000" {
		t.Errorf("%s %q %q", res.Status, body, res.Header.Get("Content-Range"))
	}
	res, err := g.client.Head("http://web.home.localhost/")
	if err != nil || res.ContentLength != 10000 {
		t.Errorf("HEAD: %v %v", res, err)
	}
}

// A web server that closes or resets its idle connections is not noticed.
func TestForwardRetriesDeadConnections(t *testing.T) {
	for _, reset := range []bool{false, true} {
		var mu sync.Mutex
		var conns []net.Conn
		web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "hello %s", b)
		}))
		web.Config.ConnState = func(c net.Conn, s http.ConnState) {
			if s == http.StateNew {
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, c)
			}
		}
		web.Start()
		g := open(t, to(web.Listener.Addr().String()))
		for i := range 50 {
			if res, body := g.get(t, "http://web.home.localhost/"); res.StatusCode != 200 || body != "hello " {
				t.Fatalf("reset %v, request %d: %s %q", reset, i, res.Status, body)
			}
			mu.Lock()
			for _, c := range conns {
				if reset {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}
			conns = nil
			mu.Unlock()
		}
		web.Close()
	}
}

// pausing is a stream whose reads and writes fail once it is told to: a tunnel that
// is lost with an idle connection in it.
type pausing struct {
	proxy.Conn
	lost chan struct{}
}

func (p *pausing) Write(b []byte) (int, error) {
	select {
	case <-p.lost:
		return 0, errors.New("stream reset")
	default:
		return p.Conn.Write(b)
	}
}

func TestForwardRetriesLostTunnel(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer web.Close()
	var last *pausing
	g := open(t, func(ctx context.Context) (proxy.Conn, error) {
		c, err := to(web.Listener.Addr().String())(ctx)
		last = &pausing{Conn: c, lost: make(chan struct{})}
		return last, err
	})
	for range 20 {
		if res, body := g.get(t, "http://web.home.localhost/"); body != "hello" {
			t.Fatalf("%s %q", res.Status, body)
		}
		close(last.lost)
	}
}

func TestForwardEvents(t *testing.T) {
	next := make(chan string)
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			fmt.Fprintf(w, "data: %s\n\n", event)
			http.NewResponseController(w).Flush()
		}
	})
	go func() { next <- "0" }()
	res, err := g.client.Get("http://web.home.localhost/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 10 { // each event arrives before the next is made
		line, err := r.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want {
			t.Fatalf("read %q, %v; want %q", line, err, want)
		}
		r.ReadString('\n')
		next <- fmt.Sprint(i + 1)
	}
	close(next)
}

func TestForwardUpload(t *testing.T) {
	const size = 100 << 20
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	})
	for _, length := range []int64{size, -1} { // -1 is chunked
		h := sha256.New()
		req, err := http.NewRequest(http.MethodPut, "http://web.home.localhost/", io.TeeReader(io.LimitReader(&counter{}, size), h))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		_, got := g.do(t, req)
		if want := fmt.Sprintf("%d %x <nil>", size, h.Sum(nil)); got != want {
			t.Errorf("the web server got %s, want %s", got, want)
		}
	}
}

// counter is a stream of bytes that are not all alike: two periods without a
// common divisor.
type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	const text = "Peerway forwards bytes and keeps their order. "
	n := 0
	for n < len(p) {
		if c.n%1009 == 0 {
			p[n] = byte(c.n / 1009)
			c.n++
			n++
			continue
		}
		m := copy(p[n:min(len(p), n+1009-c.n%1009)], text[c.n%len(text):])
		c.n += m
		n += m
	}
	return n, nil
}

func TestForwardDownload(t *testing.T) {
	const size = 100 << 20
	g := serving(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, io.LimitReader(&counter{}, size)) })
	want := sha256.New()
	io.Copy(want, io.LimitReader(&counter{}, size))
	res, err := g.client.Get("http://web.home.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, res.Body); n != size || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// An answer may begin while the upload goes on.
func TestForwardFullDuplex(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	})
	for range 3 { // the third on a connection that was used like that
		body, upload := io.Pipe()
		res, err := g.client.Post("http://web.home.localhost/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			want := fmt.Sprintf("part %d", i)
			go io.WriteString(upload, want)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(res.Body, got); string(got) != want {
				t.Fatalf("read %q, %v; want %q", got, err, want)
			}
		}
		upload.Close()
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v at the end", rest, err)
		}
		res.Body.Close()
	}
}

// A web server that answers without reading the upload harms neither this nor
// the next request on the connection.
func TestForwardEarlyAnswer(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for _, size := range []int{1, 10 << 10, 200 << 10} {
		for i := range 20 {
			res, err := g.client.Post("http://web.home.localhost/", "text/plain", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatalf("%d bytes, request %d: %v", size, i, err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Fatalf("%d bytes, request %d: %s", size, i, res.Status)
			}
		}
	}
}

func TestForwardContinue(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "too much", http.StatusExpectationFailed)
			return
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", b)
	})
	head := "POST %s HTTP/1.1\r\nHost: web.home.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

	for range 20 {
		c := g.connect(t)
		r := bufio.NewReader(c)
		fmt.Fprintf(c, head, "/")
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 100 {
			t.Fatalf("%v, %v; want 100 Continue", res, err)
		}
		io.WriteString(c, "hello")
		res, err := http.ReadResponse(r, nil) // a second 100 would be allowed, but confuses some
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v, %v", res, err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "got hello" {
			t.Errorf("body %q", body)
		}
	}

	c := g.connect(t)
	fmt.Fprintf(c, head, "/refuse")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusExpectationFailed {
		t.Fatalf("%v, %v; want 417 and no 100", res, err)
	}
}

func TestForwardWebsocket(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, p) != nil {
				return
			}
		}
	})
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return net.Dial("tcp", g.addr) }}
	c, _, err := d.Dial("ws://web.home.localhost/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{1, 1000, 1 << 20} {
		want := bytes.Repeat([]byte("x"), size)
		if err := c.WriteMessage(websocket.BinaryMessage, want); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); !bytes.Equal(got, want) || err != nil {
			t.Fatalf("read %d bytes, %v; want %d", len(got), err, size)
		}
	}
}

// switching is a web server that becomes an echo which half-closes.
func switching(w http.ResponseWriter, r *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	b, _ := io.ReadAll(c) // until the half-close
	io.WriteString(c, "all of "+string(b))
}

// upgrade makes c an echo.
func upgrade(t *testing.T, c *net.TCPConn) *bufio.Reader {
	t.Helper()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.home.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v; want 101", res, err)
	}
	return r
}

func TestForwardUpgradeHalfClose(t *testing.T) {
	g := serving(t, switching)
	c := g.connect(t)
	r := upgrade(t, c)
	io.WriteString(c, "it")
	c.CloseWrite()
	if got, err := io.ReadAll(r); string(got) != "all of it" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// Serve waits for connections that have become something else.
func TestServeEndsUpgraded(t *testing.T) {
	g := serving(t, switching)
	c := g.connect(t)
	r := upgrade(t, c)
	if err := g.stop(); !errors.Is(err, errStop) {
		t.Errorf("Serve() = %v", err)
	}
	if n := g.peers.open.Load(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection is still open")
	}
}

func TestServeEndsRequests(t *testing.T) {
	began := make(chan struct{}, 2)
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			if res, err := g.client.Get("http://web.home.localhost/"); err == nil {
				res.Body.Close()
				t.Errorf("%s", res.Status)
			}
		})
		<-began
	}
	g.stop()
	if n := g.peers.open.Load(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
	clients.Wait()
}

// A dial that is in progress ends with Serve, though its request is gone.
func TestServeEndsDials(t *testing.T) {
	dialing := make(chan struct{})
	g := open(t, func(ctx context.Context) (proxy.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	c := g.connect(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.home.localhost\r\n\r\n")
	<-dialing
	c.SetLinger(0)
	c.Close()
	g.stop()
}

func TestCancelReachesServer(t *testing.T) {
	for _, what := range []string{"leaves while the server is silent", "resets in the middle"} {
		t.Run(what, func(t *testing.T) {
			began, gone := make(chan struct{}), make(chan struct{})
			g := serving(t, func(w http.ResponseWriter, r *http.Request) {
				if what == "resets in the middle" {
					io.WriteString(w, "begin")
					http.NewResponseController(w).Flush()
				}
				close(began)
				<-r.Context().Done()
				close(gone)
			})
			c := g.connect(t)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.home.localhost\r\n\r\n")
			<-began
			if what == "resets in the middle" {
				c.SetLinger(0)
			}
			c.Close()
			wait(t, gone, "the web server did not notice")
			wait(t, g.peers.resets, "the stream was not reset")
		})
	}
}

func wait(t *testing.T, event <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(20 * time.Second):
		t.Fatal(otherwise)
	}
}

// A client that says all at once and ends its direction gets its answer.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	const size = 1 << 20
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(100 * time.Millisecond):
			w.Write(make([]byte, size))
		}
	})
	c := g.connect(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.home.localhost\r\n\r\n")
	c.CloseWrite()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%s, %d bytes, %v", res.Status, n, err)
	}
}
