package httpx_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/httpx"
	"peerway/proxy"
)

// peers is a Dialer that reaches web servers on this machine, as if they were
// behind peers.
type peers struct {
	mu     sync.Mutex
	dials  map[proxy.Target]func(context.Context) (proxy.Conn, error)
	dialed atomic.Int64
	open   atomic.Int64
	resets chan struct{} // one for each Reset
}

func (p *peers) DialContext(ctx context.Context, target proxy.Target, class proxy.Class) (proxy.Conn, error) {
	if class != proxy.Mixed {
		return nil, errors.New("HTTP wants mixed lanes")
	}
	p.mu.Lock()
	dial := p.dials[target]
	p.mu.Unlock()
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	p.dialed.Add(1)
	p.open.Add(1)
	return &tunnelStream{Conn: c, peers: p}, nil
}

// A tunnelStream is a proxy.Conn that can be reset and is counted.
type tunnelStream struct {
	proxy.Conn
	peers *peers
	once  sync.Once
}

func (s *tunnelStream) Reset() {
	s.peers.resets <- struct{}{}
	proxy.Abort(s.Conn)
}

func (s *tunnelStream) Close() error {
	s.once.Do(func() { s.peers.open.Add(-1) })
	return s.Conn.Close()
}

// to returns a dial function for a TCP address.
func to(addr string) func(context.Context) (proxy.Conn, error) {
	return func(ctx context.Context) (proxy.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
}

// A gate is a running Server and a client of it.
type gate struct {
	peers  *peers
	routes *proxy.Routes
	addr   string
	client *http.Client
	stop   func() error // ends Serve and returns its error
}

func cameraURL(t proxy.Target) string { return "rtsp://127.0.0.1:8554/" + t.String() }

// open runs a Server with one service, web.home, behind dial.
func open(t testing.TB, dial func(context.Context) (proxy.Conn, error)) *gate {
	t.Helper()
	g := &gate{peers: &peers{resets: make(chan struct{}, 100)}, routes: new(proxy.Routes)}
	g.peers.dials = map[proxy.Target]func(context.Context) (proxy.Conn, error){{Peer: "home", Service: "web"}: dial}
	g.routes.SetPeer("home", true, []proxy.Entry{{Name: "web", Scheme: "http"}, {Name: "cam", Scheme: "rtsp"}})
	g.routes.SetPeer("farm", false, []proxy.Entry{{Name: "gate", Scheme: "http"}})

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	srv := &httpx.Server{Dialer: g.peers, Routes: g.routes, CameraURL: cameraURL}
	go func() { done <- srv.Serve(ctx, ln) }()
	g.stop = sync.OnceValue(func() error { cancel(errStop); return <-done })
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", g.addr)
		},
		DisableCompression: true,
	}
	g.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := g.stop(); !errors.Is(err, errStop) {
			t.Errorf("Serve() = %v, want %v", err, errStop)
		}
		if n := g.peers.open.Load(); n != 0 {
			t.Errorf("%d streams are open after Serve has returned", n)
		}
	})
	return g
}

var errStop = errors.New("stop")

// serving opens a gate before a web server.
func serving(t testing.TB, h http.HandlerFunc) *gate {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return open(t, to(web.Listener.Addr().String()))
}

// get requests a URL and reads the answer.
func (g *gate) get(t testing.TB, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return g.do(t, req)
}

func (g *gate) do(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// connect opens a bare connection to the gate.
func (g *gate) connect(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// directClient returns a client that uses no gate.
func directClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// discard is io.Discard without its own small buffer.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
