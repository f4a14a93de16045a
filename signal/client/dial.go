package client

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/proxy"

	"peerway/signal"
	"peerway/signal/hostport"
	"peerway/signal/internal/wire"
)

// Limits of opening a connection.
const (
	dialTimeout  = 15 * time.Second // TCP, TLS and websocket together
	awaitedDial  = 5 * time.Second  // the same, while a person waits
	loginTimeout = 10 * time.Second // until the server's word on the login
	writeTimeout = 15 * time.Second // of 16 KiB
)

// A dialer opens connections to one server.
type dialer struct {
	cfg    Config // of which the connection's fields are used
	addr   string
	public bool
	match  func(signal.Pin) bool // unless public
	any    bool                  // any server is right
}

// A connection is a link to a server that has sent its challenge.
type connection struct {
	link      *wire.Link
	server    netip.AddrPort // where it answers STUN and relays; zero if not known
	other     netip.AddrPort // the same with the other version of IP
	local     netip.Addr     // this end's; not valid if it is none of IP
	challenge wire.Challenge
	binding   []byte
}

// dial opens a connection up to the challenge. The caller closes its link.
func (d dialer) dial(ctx context.Context, codec wire.Codec) (_ *connection, err error) {
	var looking sync.WaitGroup
	defer looking.Wait()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var known []netip.AddrPort
	looking.Go(func() { known = d.addresses(ctx) })
	tcp, direct, err := d.dialTCP(ctx)
	if err != nil {
		return nil, unreachableError{err}
	}
	defer func() {
		if err != nil {
			tcp.Close()
		}
	}()
	defer wire.OnDone(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })()
	secure := tls.Client(tcp, d.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, d.refusal(err)
	}
	state := secure.ConnectionState()
	c := &connection{}
	if c.binding, err = wire.Binding(&state); err != nil {
		return nil, err
	}
	conn := &wire.Conn{Conn: secure}
	ws, err := upgrade(ctx, d.addr, conn)
	if err != nil {
		return nil, fmt.Errorf("open the websocket to %s: %w", d.addr, err)
	}
	tcp.SetReadDeadline(time.Now().Add(loginTimeout)) // lifted after the login
	if ctx.Err() != nil {                             // the websocket may have lifted the deadline set above
		return nil, context.Cause(ctx)
	}
	c.link = wire.NewLink(ws, conn, writeTimeout, new(wire.Buffers))
	defer func() {
		if err != nil {
			c.link.Close()
		}
	}()
	if err := c.readChallenge(codec); err != nil {
		return nil, err
	}
	if !d.public && !d.any { // the same key in the certificate and in the challenge
		key, _ := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
		if !key.Equal(ed25519.PublicKey(c.challenge.Server)) {
			return nil, errors.New("log in: the challenge is that of another server")
		}
	}
	looking.Wait() // it began when the dial did, and took no longer than that, or a second
	c.server, c.other = servers(tcp, direct, known)
	local, _ := netip.ParseAddrPort(tcp.LocalAddr().String())
	c.local = local.Addr().Unmap().WithZone("")
	return c, nil
}

func upgrade(ctx context.Context, addr string, conn net.Conn) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Subprotocols:      []string{wire.Subprotocol},
		ReadBufferSize:    4 << 10,
		WriteBufferSize:   4 << 10, // more than a relay frame, so that one is written at once
	}
	ws, answer, err := dialer.DialContext(ctx, "wss://"+addr+wire.Path, nil)
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("%w: %s", err, answer.Status)
		}
		return nil, err
	}
	if ws.Subprotocol() != wire.Subprotocol {
		return nil, fmt.Errorf("the server does not speak %s", wire.Subprotocol)
	}
	return ws, nil
}

func (c *connection) readChallenge(codec wire.Codec) error {
	msg, err := c.link.Read()
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	f, err := codec.Frame(msg)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if f.Type == wire.TypeError {
		return decodeError(codec, f).refusal()
	}
	if f.Type != wire.TypeChallenge {
		return fmt.Errorf("log in: message %d instead of a challenge", f.Type)
	}
	if err := codec.Body(f, &c.challenge); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if len(c.challenge.Nonce) != 32 || len(c.challenge.Server) != ed25519.PublicKeySize {
		return fmt.Errorf("log in: %w: challenge", wire.ErrMalformed)
	}
	return nil
}

// errPin marks a certificate that is not the one the URL or code means.
var errPin = errors.New("its key is not the one that the URL or code names; if it was set up anew, use the URL that it prints now, or a new code")

func (d dialer) tlsConfig() *tls.Config {
	host, _, _ := net.SplitHostPort(d.addr)
	if d.public {
		return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: d.cfg.RootCAs}
	}
	if d.any {
		return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} // nothing is said to it
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // no name and no authority: the key itself is compared
		VerifyConnection: func(state tls.ConnectionState) error {
			key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok || !d.match(signal.PinOf(key)) {
				return errPin
			}
			return nil
		},
	}
}

// refusal makes a wrong certificate a [*RefusedError].
func (d dialer) refusal(err error) error {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	if errors.Is(err, errPin) || unverified || unknown {
		return &RefusedError{Code: WrongPin, Text: fmt.Sprintf("%s is not trusted: %v", d.addr, err)}
	}
	return fmt.Errorf("TLS with %s: %w", d.addr, err)
}

// dialTCP connects to the server, or through the proxy. direct is false if
// another address than the server's is at the other end.
func (d dialer) dialTCP(ctx context.Context) (conn net.Conn, direct bool, err error) {
	dial := d.cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	if d.cfg.Proxy != nil {
		request := &http.Request{URL: &url.URL{Scheme: "https", Host: d.addr}}
		through, err := d.cfg.Proxy(request)
		if err != nil {
			return nil, false, fmt.Errorf("proxy for %s: %w", d.addr, err)
		}
		if through != nil {
			conn, err := dialProxy(ctx, through, d.addr, dial)
			if err != nil {
				return nil, false, fmt.Errorf("proxy %s: %w", through.Redacted(), err)
			}
			return conn, false, nil
		}
	}
	conn, err = dial(ctx, "tcp", d.addr)
	if err != nil {
		return nil, false, fmt.Errorf("connect to %s: %w", d.addr, dialReason(err))
	}
	return conn, true, nil
}

// dialReason returns why a dial did not succeed, without the address and the
// system call that [net] puts before it.
func dialReason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialProxy opens a connection to addr through an HTTP or SOCKS5 proxy.
func dialProxy(ctx context.Context, through *url.URL, addr string, dial dialFunc) (_ net.Conn, err error) {
	switch through.Scheme {
	case "socks5", "socks5h":
		socks, err := proxy.FromURL(through, proxyForward(dial))
		if err != nil {
			return nil, err
		}
		return socks.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	case "http", "https":
	default:
		return nil, fmt.Errorf("scheme %q is not supported", through.Scheme)
	}
	port := through.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[through.Scheme]
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(through.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	defer wire.OnDone(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if through.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: through.Hostname()})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	return conn, connectThrough(conn, through, addr)
}

// connectThrough asks an HTTP proxy for a tunnel to addr (RFC 9110, section
// 9.3.6).
func connectThrough(conn net.Conn, through *url.URL, addr string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: make(http.Header)}
	if user := through.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// Byte by byte, because what follows the answer belongs to the tunnel.
	answer, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(oneByte{conn}, 8<<10), 16), request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	return nil
}

// oneByte reads one byte at a time.
type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 1)]) }

// proxyForward is a dialFunc as x/net/proxy wants it.
type proxyForward dialFunc

// Dial implements proxy.Dialer; only DialContext is used.
func (f proxyForward) Dial(network, addr string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

// DialContext implements proxy.ContextDialer.
func (f proxyForward) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

// homeless reports whether this host has lost the address of its end: nothing will come
// on the connection any more.
func (c *connection) homeless() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil || !c.local.IsValid() {
		return false
	}
	return !slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == c.local
	})
}

// addresses returns the addresses that the server's name stands for. What it means to a
// dialer that is not the system's, nobody knows.
func (d dialer) addresses(ctx context.Context) []netip.AddrPort {
	if _, err := netip.ParseAddrPort(d.addr); err != nil && d.cfg.DialContext != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	all, _ := hostport.Resolve(ctx, d.addr) // who cannot look up knows none
	return all
}

// servers returns where the server answers STUN: the other end of the connection, or
// behind a proxy, the first of the addresses that are known; and the first of those with
// the other version of IP. Zero values are not known.
func servers(conn net.Conn, direct bool, known []netip.AddrPort) (server, other netip.AddrPort) {
	if direct {
		addr, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		server = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	} else if len(known) > 0 {
		server = known[0]
	}
	for _, addr := range known {
		if addr.Addr().Is4() != server.Addr().Is4() {
			return server, addr
		}
	}
	return server, netip.AddrPort{}
}

func decodeError(codec wire.Codec, f wire.Frame) *serverError {
	e := new(serverError)
	if err := codec.Body(f, (*wire.Error)(e)); err != nil {
		e.Text = err.Error()
	}
	return e
}
