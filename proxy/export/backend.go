package export

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"peerway/proxy"
)

// A Parser makes a Backend of a URL whose scheme is its own, in lower case. Its
// errors say what is wrong without repeating the URL, which may hold a password.
type Parser func(raw string) (Backend, error)

// ParseURL makes a Backend of the URL that a person gives to expose a service:
// http://HOST[:PORT], https://HOST[:PORT], https+insecure://HOST[:PORT] (any
// certificate will do), or a scheme that more has a parser for. The scheme that
// it returns is "http", "https" or one of more's. Errors never repeat the URL.
func ParseURL(raw string, more map[string]Parser) (_ Backend, scheme string, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, "", errors.New("not a URL: write, for example, http://192.168.1.9:8080")
	}
	scheme = strings.ToLower(scheme)
	if parse, ok := more[scheme]; ok {
		b, err := parse(scheme + "://" + rest)
		return b, scheme, err
	}
	port := "443"
	switch scheme {
	case "http":
		port = "80"
	case "https", "https+insecure":
	default:
		known := append([]string{"http", "https", "https+insecure"}, slices.Sorted(maps.Keys(more))...)
		return nil, "", fmt.Errorf("unknown scheme: want %s", strings.Join(known, ", "))
	}
	addr, err := parseAddress(rest, port)
	if err != nil {
		return nil, "", err
	}
	b := &server{addr: addr}
	insecure := false
	if scheme, insecure = strings.CutSuffix(scheme, "+insecure"); scheme == "https" {
		host, _, _ := net.SplitHostPort(addr)
		b.tls = &tls.Config{
			ServerName:         host,
			NextProtos:         []string{"http/1.1"}, // what the gateway speaks
			InsecureSkipVerify: insecure,             // asked for by the person who exposes the server
		}
	}
	return b, scheme, nil
}

// parseAddress returns HOST:PORT of a URL without its scheme.
func parseAddress(rest, defaultPort string) (string, error) {
	u, err := url.Parse("//" + rest)
	switch {
	case err != nil: // its text may hold a password
		return "", errors.New("malformed URL: want SCHEME://HOST:PORT")
	case u.User != nil:
		return "", errors.New("a user name and password are not supported in this URL")
	case u.Hostname() == "":
		return "", errors.New("the host is missing: want SCHEME://HOST:PORT")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("a path is not supported: the whole server is exposed, write SCHEME://HOST:PORT")
	}
	port := cmp.Or(u.Port(), defaultPort)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("the port is not a number from 1 to 65535")
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// A server is a Backend that speaks whatever the client speaks, under TLS or
// not.
type server struct {
	addr    string
	tls     *tls.Config // nil: plain TCP
	splicer proxy.Splicer
}

// Check implements [Backend]: the server is there if it accepts a connection.
func (s *server) Check(ctx context.Context) error {
	up, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	return up.Close()
}

// Dial implements [Backend].
func (s *server) Dial(ctx context.Context) (Upstream, error) {
	var dialer net.Dialer
	started := time.Now()
	c, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, inWords(err, s.addr, time.Since(started))
	}
	tcp := c.(*net.TCPConn)
	if s.tls == nil {
		return &upstream{conn: tcp, splicer: &s.splicer}, nil
	}
	secure := tls.Client(tcp, s.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, inWords(err, s.addr, time.Since(started))
	}
	return &upstream{conn: secure, splicer: &s.splicer}, nil
}

// An upstream is one connection to a server.
type upstream struct {
	conn    proxy.Conn // owned
	splicer *proxy.Splicer
}

// Splice implements [Upstream].
func (u *upstream) Splice(ctx context.Context, stream proxy.Conn) error {
	err := u.splicer.Splice(ctx, u.conn, stream)
	if err != nil {
		proxy.Abort(u.conn)
	}
	return err
}

// Close implements [Upstream].
func (u *upstream) Close() error { return u.conn.Close() }
