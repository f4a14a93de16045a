package httpx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"peerway/proxy"
)

const (
	checkWithin = 10 * time.Second // an answer to Check
	checkBytes  = 64 << 10         // at most, until the body of that begins
)

// errSilent marks a server that was asked in vain.
var errSilent = fmt.Errorf("it accepted the connection, but sent no answer within %v", checkWithin)

// Check asks the web server target, which d reaches, for its first page, and hangs up when
// the answer begins. Any answer will do. It returns nil, the cause of ctx, or a [*proxy.Error].
// After the dial it takes 10 s at most.
func Check(ctx context.Context, d proxy.Dialer, target proxy.Target) error {
	c, err := d.DialContext(ctx, target, proxy.Mixed)
	if err != nil {
		return told(ctx, err, target)
	}
	defer c.Close()
	defer proxy.Abort(c) // nobody reads the page
	asking, cancel := context.WithTimeoutCause(ctx, checkWithin, errSilent)
	defer cancel()
	defer context.AfterFunc(asking, func() { c.SetDeadline(time.Unix(1, 0)) })()
	err = askPage(c, hostOf(target)+".localhost")
	if err != nil && asking.Err() != nil {
		err = context.Cause(asking)
	}
	return told(ctx, err, target)
}

// askPage asks for the first page of host, and reads how the answer begins.
func askPage(c io.ReadWriter, host string) error {
	// Some small servers know no HEAD.
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: Peerway\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, checkBytes)), nil)
	return err // to close the body would be to read it, and some have no end
}

// told returns err for a person, if it is not that of ctx.
func told(ctx context.Context, err error, target proxy.Target) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errSilent):
		return &proxy.Error{Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: target, Reason: errSilent.Error(), Err: err}
	}
	return explain(err, target)
}
