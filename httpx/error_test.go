package httpx_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/proxy"
)

// late is a stream whose answer is an error that comes when it is first read or
// written.
type late struct {
	err    error
	read   chan struct{} // closed when the answer has come; nil: it is there
	write  bool          // Write tells it as well
	closed chan struct{}
	once   sync.Once
}

func newLate(err error) *late { return &late{err: err, closed: make(chan struct{})} }

func (l *late) Read([]byte) (int, error) {
	if l.read != nil {
		select {
		case <-l.read:
		case <-l.closed:
			return 0, net.ErrClosed
		}
	}
	return 0, l.err
}

func (l *late) Write(p []byte) (int, error) {
	if l.write {
		return 0, l.err
	}
	return len(p), nil
}

func (l *late) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *late) CloseWrite() error                { return nil }
func (l *late) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (l *late) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (l *late) SetDeadline(time.Time) error      { return nil }
func (l *late) SetReadDeadline(time.Time) error  { return nil }
func (l *late) SetWriteDeadline(time.Time) error { return nil }

// refused is what the adapter of the tunnel makes of a peer's answer.
func refused(code proxy.Code, hop proxy.Hop) *proxy.Error {
	return &proxy.Error{
		Code: code, Hop: hop, Target: proxy.Target{Peer: "home", Service: "web"},
		Reason: "connection refused by 192.168.1.9:80", Fix: "start <it>",
	}
}

func TestErrorSurvivesTransport(t *testing.T) {
	answer := refused(proxy.CodeUpstream, proxy.HopServer)
	after := func() *late { // the answer comes 20 ms after the dial
		l := newLate(answer)
		l.read = make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() { close(l.read) })
		return l
	}
	dials := map[string]func(context.Context) (proxy.Conn, error){
		"dial":          func(context.Context) (proxy.Conn, error) { return nil, answer },
		"read at once":  func(context.Context) (proxy.Conn, error) { return newLate(answer), nil },
		"read later":    func(context.Context) (proxy.Conn, error) { return after(), nil },
		"write":         func(context.Context) (proxy.Conn, error) { l := after(); l.write = true; return l, nil },
		"read or write": func(context.Context) (proxy.Conn, error) { l := newLate(answer); l.write = true; return l, nil },
	}
	bodies := map[string]func() io.Reader{
		"GET":          func() io.Reader { return nil },
		"small POST":   func() io.Reader { return strings.NewReader("hello") },
		"big POST":     func() io.Reader { return bytes.NewReader(make([]byte, 1<<20)) },
		"chunked POST": func() io.Reader { return io.MultiReader(strings.NewReader("hello")) },
	}
	for how, dial := range dials {
		for what, body := range bodies {
			t.Run(how+", "+what, func(t *testing.T) {
				t.Parallel()
				g := open(t, dial)
				for range 20 {
					method := http.MethodPost
					if what == "GET" {
						method = http.MethodGet
					}
					req, err := http.NewRequest(method, "http://web.home.localhost/", body())
					if err != nil {
						t.Fatal(err)
					}
					res, text := g.do(t, req)
					if res.StatusCode != http.StatusBadGateway || res.Header.Get("Peerway-Error") != "upstream" ||
						!strings.Contains(text, answer.Reason) {
						t.Fatalf("%s, %q, %q", res.Status, res.Header.Get("Peerway-Error"), text)
					}
				}
			})
		}
	}
}

func TestErrorPages(t *testing.T) {
	tests := []struct {
		name   string
		host   string
		err    error
		status int
		code   string
		text   string
	}{
		{"unknown service", "wbe.home", nil, 404, "unknown-name", "did you mean home/web?"},
		{"unknown peer", "web.hoem", nil, 404, "unknown-name", "did you mean home?"},
		{"camera", "cam.home", nil, 404, "other", "open rtsp://127.0.0.1:8554/home/cam"},
		{"offline", "web.home", refused(proxy.CodePeerOffline, proxy.HopPeer), 503, "peer-offline", "start <it>"},
		{"no path", "web.home", refused(proxy.CodeNoPath, proxy.HopPath), 504, "no-path", "start <it>"},
		{"refused", "web", refused(proxy.CodeUpstream, proxy.HopServer), 502, "upstream", "refused by 192.168.1.9:80"},
		{"not allowed", "web.home", refused(proxy.CodeNotAllowed, proxy.HopPeer), 403, "not-allowed", "failed at the peer"},
		{"other", "web.home", refused(proxy.CodeOther, proxy.HopPeer), 502, "other", "failed at the peer"},
		{"slow", "web.home", context.DeadlineExceeded, 504, "no-path", "did not answer in time"},
		{"end", "web.home", io.EOF, 502, "upstream", "closed the connection"},
		{"tunnel closed", "web.home", net.ErrClosed, 504, "no-path", "tunnel was closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := open(t, func(context.Context) (proxy.Conn, error) { return newLate(tt.err), nil })
			url := "http://" + tt.host + ".localhost:7480/"
			res, text := g.get(t, url)
			if res.StatusCode != tt.status || res.Header.Get("Peerway-Error") != tt.code || !strings.Contains(text, tt.text) {
				t.Errorf("%s, %q, %q; want %d, %q, %q", res.Status, res.Header.Get("Peerway-Error"), text, tt.status, tt.code, tt.text)
			}
			if got := res.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			if got, want := res.Header.Get("Retry-After") != "", tt.status >= 503; got != want {
				t.Errorf("Retry-After is set: %v, want %v", got, want)
			}

			res, text = g.get(t, url, "Accept", "text/html,application/json")
			if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" || !strings.Contains(text, `class="failed"`) {
				t.Errorf("%q, %q", got, text)
			}
			if strings.Contains(text, "<it>") {
				t.Errorf("not escaped: %q", text)
			}
			if want := `<a href="http://localhost:7480/">`; !strings.Contains(text, want) {
				t.Errorf("no way to the list of services: %q", text)
			}
			res, text = g.get(t, url, "Accept", "application/json")
			var told struct {
				Status            int
				Code, Hop, Reason string
			}
			if err := json.Unmarshal([]byte(text), &told); err != nil || told.Status != tt.status || told.Code != tt.code || told.Hop == "" || told.Reason == "" {
				t.Errorf("%s %q, %v", res.Header.Get("Content-Type"), text, err)
			}
		})
	}
}

func TestErrorNotHTTP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			c.Close()
		}
	}()
	g := open(t, to(ln.Addr().String()))
	res, text := g.get(t, "http://web.home.localhost/")
	if res.StatusCode != 502 || res.Header.Get("Peerway-Error") != "upstream" || !strings.Contains(text, "failed at the server") {
		t.Errorf("%s %q", res.Status, text)
	}
}

// A web server cannot pretend that the gateway reports an error.
func TestErrorHeaderIsOurs(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Peerway-Error", "upstream") })
	if res, _ := g.get(t, "http://web.home.localhost/"); res.Header.Get("Peerway-Error") != "" {
		t.Error("the header of the web server came through")
	}
}

// An answer that breaks off does not look complete.
func TestErrorInTheMiddle(t *testing.T) {
	g := serving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 100<<10))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	res, err := g.client.Get("http://web.home.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("read %d bytes and a proper end", n)
	}
}

func TestRebinding(t *testing.T) {
	served := make(chan string, 100)
	g := serving(t, func(w http.ResponseWriter, r *http.Request) { served <- r.Host })
	tests := map[string]int{
		"localhost":                  200,
		"LOCALHOST:7480":             200,
		"localhost.":                 200,
		"127.0.0.1":                  200,
		"127.1.2.3:7480":             200,
		"[::1]":                      200,
		"[::1]:7480":                 200,
		"[::ffff:127.0.0.1]:80":      200,
		"web.home.localhost":         200,
		"web.home.localhost.:80":     200,
		"":                           403,
		"attacker.example":           403,
		"127.0.0.1.attacker.example": 403,
		"127.attacker.example":       403,
		"localhost.attacker.example": 403,
		"web.home.localhost.example": 403,
		"notlocalhost":               403,
		"web":                        403,
		"192.168.1.9":                403,
		"[fe80::1]":                  403,
		"0.0.0.0":                    403,
		"2130706433":                 403,
		"localhost:80:80":            403,
	}
	for host, want := range tests {
		c := g.connect(t)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("Host %q: %v", host, err)
			continue
		}
		if res.StatusCode != want {
			t.Errorf("Host %q: %s, want %d", host, res.Status, want)
		}
		if want == 403 && res.Header.Get("Peerway-Error") != "not-allowed" {
			t.Errorf("Host %q: Peerway-Error %q", host, res.Header.Get("Peerway-Error"))
		}
		res.Body.Close()
		c.Close()
	}
	if len(served) != 2 {
		t.Errorf("%d requests came through", len(served))
	}
}

func TestIndex(t *testing.T) {
	g := serving(t, func(http.ResponseWriter, *http.Request) {})
	g.routes.SetPeer("zoo", true, []proxy.Entry{{Name: "odd", Scheme: `"><script>`}})
	res, text := g.get(t, "http://localhost:7480/")
	for _, want := range []string{
		`href="http://web.home.localhost:7480/"`, "rtsp://127.0.0.1:8554/home/cam", "farm/gate", "offline",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the index has no %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "<script>") || res.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("the index is not safe:\n%s", text)
	}
	if res, _ := g.get(t, "http://localhost:7480/favicon.ico"); res.StatusCode != 404 {
		t.Errorf("favicon.ico: %s", res.Status)
	}
	res, err := g.client.Post("http://localhost:7480/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 405 || res.Header.Get("Allow") == "" {
		t.Errorf("POST: %s", res.Status)
	}
}

func TestConnectIsRefused(t *testing.T) {
	g := serving(t, func(http.ResponseWriter, *http.Request) { t.Error("it came through") })
	for host, want := range map[string]string{"web.home.localhost:80": "405", "example.com:443": "403"} {
		c := g.connect(t)
		io.WriteString(c, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, want) {
			t.Errorf("CONNECT %s: %q, %v", host, line, err)
		}
	}
}

func TestAdviceIsASentence(t *testing.T) {
	tests := map[string]string{
		"start <it>":            "<p>Start &lt;it&gt;.</p>",
		"did you mean it?":      "<p>Did you mean it?</p>",
		"see http://localhost/": "<p>See http://localhost/</p>",
		"\xff":                  "<p>\ufffd.</p>", // a peer may say anything
		"":                      "",
	}
	for advice, want := range tests {
		answer := refused(proxy.CodeNoPath, proxy.HopPath)
		answer.Fix = advice
		g := open(t, func(context.Context) (proxy.Conn, error) { return newLate(answer), nil })
		if _, text := g.get(t, "http://web.home.localhost/", "Accept", "text/html"); !strings.Contains(text, want) {
			t.Errorf("the page for the advice %q has no %q:\n%s", advice, want, text)
		}
	}
}
