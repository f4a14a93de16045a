package camera

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

const (
	dialWithin   = 10 * time.Second // TCP and TLS handshake with the camera
	answerWithin = 10 * time.Second // one answer of the camera, before it sends media
)

// A Camera says where an RTSP server is and how to log in to it. It may be used
// by several goroutines at once. Its text form has neither the credentials nor
// the path, in which some cameras want them.
type Camera struct {
	url      *base.URL // with credentials
	insecure bool      // rtsps without a look at the certificate
}

// Parse reads rtsp://[USER:PASSWORD@]HOST[:PORT][/PATH][?QUERY]. The scheme
// rtsps speaks TLS to a camera whose certificate is valid, rtsps+insecure to one
// whose certificate is not. Errors never repeat what they are about.
func Parse(rawURL string) (*Camera, error) {
	const insecure = "rtsps+insecure://"
	c := &Camera{insecure: strings.HasPrefix(rawURL, insecure)}
	if c.insecure {
		rawURL = "rtsps://" + rawURL[len(insecure):]
	}
	if !strings.HasPrefix(rawURL, "rtsp://") && !strings.HasPrefix(rawURL, "rtsps://") {
		return nil, errors.New("camera URL: want rtsp://USER:PASSWORD@HOST:PORT/PATH")
	}
	u, err := base.ParseURL(rawURL)
	if err != nil { // its text may hold a piece of the password
		return nil, errors.New("camera URL: cannot be read; in a user name or password write @ as %40, : as %3A, / as %2F, # as %23 and % as %25")
	}
	if u.Hostname() == "" {
		return nil, errors.New("camera URL: no host")
	}
	c.url = u
	return c, nil
}

// Address returns the HOST:PORT of the camera.
func (c *Camera) Address() string {
	port := c.url.Port()
	switch {
	case port != "":
	case c.url.Scheme == "rtsps":
		port = "322"
	default:
		port = "554"
	}
	return net.JoinHostPort(c.url.Hostname(), port)
}

// String returns the URL of the camera without credentials and path.
func (c *Camera) String() string { return c.url.Scheme + "://" + c.Address() }

// Dial connects to the camera within 10 s and says nothing to it yet. The caller
// closes the Upstream.
func (c *Camera) Dial(ctx context.Context) (*Upstream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var conn net.Conn
	var err error
	if c.url.Scheme == "rtsps" {
		// Cameras sign their certificates themselves; who knows that asks for it.
		d := tls.Dialer{Config: &tls.Config{ServerName: c.url.Hostname(), InsecureSkipVerify: c.insecure}}
		conn, err = d.DialContext(ctx, "tcp", c.Address())
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", c.Address())
	}
	if err != nil {
		return nil, inWords(err, c.Address(), dialWithin)
	}
	return &Upstream{conn: conn, dialogue: newDialogue(c.url)}, nil
}

// Check connects, asks for the stream's description as a gateway would, and
// hangs up. The error says in words what is wrong.
func (c *Camera) Check(ctx context.Context) error {
	up, err := c.Dial(ctx)
	if err != nil {
		return err
	}
	defer up.Close()
	defer context.AfterFunc(ctx, func() { up.conn.SetDeadline(time.Unix(1, 0)) })()
	up.conn.SetDeadline(time.Now().Add(answerWithin))
	if err := up.probe(); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return inWords(err, c.Address(), answerWithin)
	}
	return nil
}

// host is the made-up name that gateways know the camera by.
const host = "camera"

// URL returns the URL by which a gateway asks a [Camera] for a path below its
// own, with a query; both may be empty.
func URL(path, query string) *base.URL {
	u := url.URL{Scheme: "rtsp", Host: host, RawQuery: query}
	if path = strings.Trim(path, "/"); path != "" {
		u.Path = "/" + path
	}
	return (*base.URL)(&u)
}
