package httpx

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"strings"
	"sync"

	"peerway/proxy"
)

// codeHeader tells programs the code of an error that the gateway reports. Web
// servers cannot set it.
const codeHeader = "Peerway-Error"

// A gateway handles the requests of all viewers.
type gateway struct {
	routes  *proxy.Routes
	camera  func(proxy.Target) string
	forward httputil.ReverseProxy // copied for each request, with its exchange in the copy
	buffers buffers
	pages   *pages
	log     *slog.Logger
}

func newGateway(routes *proxy.Routes, camera func(proxy.Target) string, send roundTripper, p *pages, log *slog.Logger) *gateway {
	g := &gateway{routes: routes, camera: camera, pages: p, log: log}
	g.forward = httputil.ReverseProxy{
		Transport:      send,
		FlushInterval:  -1, // pass on every write: events and cameras stream
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite:        rewrite,
		ModifyResponse: modify,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the viewer is gone, or Serve ends: no answer is better than an empty one
				panic(http.ErrAbortHandler)
			}
			g.fail(w, r, explain(err, targetOf(r.URL.Host)))
		},
	}
	return g
}

// ServeHTTP implements [http.Handler].
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	done := working(r)
	g.answer(w, r)
	done() // not after a panic: then the viewer waits until his connection is closed
}

// answer answers r.
func (g *gateway) answer(w http.ResponseWriter, r *http.Request) {
	local := localName(r.Host)
	switch {
	case local == "":
		g.failWith(w, r, http.StatusForbidden, foreignHost(r.Host))
	case r.Method == http.MethodConnect:
		g.failWith(w, r, http.StatusMethodNotAllowed, &proxy.Error{
			Code: proxy.CodeOther, Hop: proxy.HopGateway, Reason: "CONNECT is not supported here",
			Fix: "use http://SERVICE.PEER.localhost, without a proxy",
		})
	case local == "localhost":
		g.index(w, r)
	default:
		g.serve(w, r, local)
	}
}

// serve forwards r to the service that the host names.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request, host string) {
	target, scheme, err := g.routes.Lookup(host)
	if err != nil {
		g.fail(w, r, explain(err, target))
		return
	}
	if scheme == "rtsp" || scheme == "rtsps" {
		g.failWith(w, r, http.StatusNotFound, &proxy.Error{
			Code: proxy.CodeOther, Hop: proxy.HopGateway, Target: target,
			Reason: "this is a camera, which a browser cannot show",
			Fix:    "open " + g.camera(target) + " in a player such as VLC",
		})
		return
	}
	out := &answer{ResponseWriter: w, control: http.NewResponseController(w)}
	x := &exchange{target: target, answer: out, buffers: &g.buffers}
	forward := g.forward
	forward.BufferPool = x
	forward.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	if x.duplex {
		// The server of net/http would do this itself, but trips over it after
		// a full-duplex handler: it then reads twice at once.
		out.control.Flush()
		r.Body.Close()
	}
}

// An answer is how the reverse proxy, and the [body] beside it, write to the
// viewer. It leaves it to the server of net/http to say "100 Continue": it does
// when the upload is first read, which is when the web server has said so. The
// reverse proxy says it as well, at the same time.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController // of ResponseWriter

	mu sync.Mutex // the reverse proxy flushes the header in a goroutine of its own
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if status != http.StatusContinue {
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ResponseWriter.Write(p)
}

// FlushError is for [http.ResponseController].
func (a *answer) FlushError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.control.Flush()
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// An exchange is what the hooks of the reverse proxy must know of a request.
type exchange struct {
	target  proxy.Target
	answer  *answer
	buffers *buffers
	duplex  bool // the answer has begun, perhaps before the upload has ended
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// Get implements [httputil.BufferPool]: it is called once an answer has begun.
func (x *exchange) Get() []byte { return x.buffers.get(false) }

// Put implements [httputil.BufferPool].
func (x *exchange) Put(b []byte) { x.buffers.put(b) }

// modify prepares the answer of a web server for the viewer.
func modify(res *http.Response) error {
	res.Header.Del(codeHeader)
	r := res.Request
	x := exchangeOf(r)
	if res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &body{ReadCloser: res.Body, x: x}
	}
	if _, typed := res.Header["Content-Type"]; !typed {
		x.answer.Header()["Content-Type"] = nil // the web server says nothing, and nobody guesses for it
	}
	if res.StatusCode != http.StatusSwitchingProtocols && r.Body != nil && r.Header.Get("Expect") == "" {
		x.duplex = x.answer.control.EnableFullDuplex() == nil // or the rest of the upload would be thrown away now
	}
	return nil
}

// rewrite makes the request for the peer of the viewer's.
func rewrite(pr *httputil.ProxyRequest) {
	target := exchangeOf(pr.In).target
	pr.Out.URL.Scheme = "http" // TLS to the web server is the peer's business
	pr.Out.URL.Host = hostOf(target)
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it is: only the web server reads it
	pr.Out.Host = pr.In.Host
	pr.SetXForwarded()
	if strings.EqualFold(pr.Out.Header.Get("Upgrade"), "h2c") { // would take the connection out of the gateway's hands
		pr.Out.Header.Del("Connection")
		pr.Out.Header.Del("Upgrade")
		pr.Out.Header.Del("Http2-Settings")
	}
}

// fail answers with the page of e and the status of its code.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, e *proxy.Error) {
	status := http.StatusBadGateway
	switch e.Code {
	case proxy.CodeUnknownName:
		status = http.StatusNotFound
	case proxy.CodePeerOffline:
		status = http.StatusServiceUnavailable
	case proxy.CodeNoPath:
		status = http.StatusGatewayTimeout
	case proxy.CodeNotAllowed:
		status = http.StatusForbidden
	}
	g.failWith(w, r, status, e)
}

// failWith answers with the page of e.
func (g *gateway) failWith(w http.ResponseWriter, r *http.Request, status int, e *proxy.Error) {
	g.log.Info("request failed", "peer", e.Target.Peer, "service", e.Target.Service, "remote", r.RemoteAddr, "err", e)
	h := w.Header()
	h.Set(codeHeader, e.Code.String())
	if status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
		h.Set("Retry-After", "5")
	}
	g.pages.writeError(w, r, status, e)
}

// explain returns what failed for a person: the error of the hop that failed,
// however deep net/http has buried it.
func explain(err error, target proxy.Target) *proxy.Error {
	if e, ok := errors.AsType[*proxy.Error](err); ok {
		told := *e
		if told.Target == (proxy.Target{}) {
			told.Target = target
		}
		return &told
	}
	e := &proxy.Error{Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: target, Err: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Code, e.Hop, e.Reason = proxy.CodeNoPath, proxy.HopPath, "the peer did not answer in time"
	case errors.Is(err, net.ErrClosed):
		e.Code, e.Hop, e.Reason = proxy.CodeNoPath, proxy.HopPath, "the tunnel was closed before the answer"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Reason = "it closed the connection before it answered"
	default:
		e.Reason, e.Fix = "it closed the connection, or answered something that is not HTTP",
			"check on the other side what the service is"
	}
	return e
}

// localName returns the host without its port, in lower case, if only this
// machine can be meant by it: "localhost" for every way to write that, or a
// name below it. For any other it returns "". A name that a DNS server
// answers could be pointed at this machine by a stranger, whose page could then
// read what is served here (DNS rebinding).
func localName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return "localhost"
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return host
	}
	return ""
}

// portOf returns the port of host with its colon, or "".
func portOf(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		return ":" + port
	}
	return ""
}

// foreignHost explains why a request for host is refused.
func foreignHost(host string) *proxy.Error {
	if len(host) > 80 {
		host = host[:80] + "…"
	}
	return &proxy.Error{
		Code: proxy.CodeNotAllowed, Hop: proxy.HopGateway,
		Reason: "the host " + strings.ToValidUTF8(host, "?") + " is not one of this gateway",
		Fix:    "use localhost, SERVICE.PEER.localhost, 127.0.0.1 or [::1]: other names could belong to a stranger",
	}
}
