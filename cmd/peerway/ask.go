package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/proxy"
)

// Paths of the control API. What is asked there is answered with JSON.
const (
	statusPath = "/v1/status" // GET: a report
	loginPath  = "/v1/login"  // POST: nothing, when the next attempt to log in to the signal server has come to an end
	pingPath   = "/v1/ping"   // POST ?peer=NAME: a pong, or an askError
	checkPath  = "/v1/check"  // POST ?peer=NAME&service=NAME: nothing, or an askError
)

// answerWithin bounds the answer to a question about a peer, to which a tunnel may have to
// be made first.
const answerWithin = 25 * time.Second

// A pong is what came of asking a peer whether it is there.
type pong struct {
	Peer    string  `json:"peer"`
	Path    string  `json:"path"` // as in a tunnelReport
	Remote  string  `json:"remote,omitempty"`
	RTT     float64 `json:"rtt_ms"`
	Why     string  `json:"why,omitempty"`      // there is no direct path, as this side knows
	PeerWhy string  `json:"peer_why,omitempty"` // as the peer says

	Hitch string `json:"hitch,omitempty"` // no relay on UDP is used: the code of the finding that says why

	Limits     []string `json:"limits,omitempty"`      // what stands in the way of direct paths at this end
	PeerLimits []string `json:"peer_limits,omitempty"` // at the peer's, as it says
}

// explained reports whether either side has said why there is no direct path.
func (p *pong) explained() bool {
	return p.Why != "" || p.PeerWhy != "" || len(p.Limits) > 0 || len(p.PeerLimits) > 0
}

// because says why there is no direct path.
func (p *pong) because(peer string) string {
	text := fmt.Sprintf("%s is reached over %s", peer, p.Path)
	if p.Why != "" {
		text += "; this side: " + p.Why
	}
	if p.PeerWhy != "" {
		text += fmt.Sprintf("; %s: %s", peer, p.PeerWhy)
	}
	if !p.explained() {
		text += "; what stands in the way of a direct one is not known yet"
	}
	return text
}

// An askError is why a question has no better answer.
type askError struct {
	Code   string `json:"code"` // as of [proxy.Code]
	Hop    string `json:"hop,omitempty"`
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
}

// Error implements error.
func (e *askError) Error() string {
	if e.Fix == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Fix
}

// newAskError makes what the control API answers of an error.
func newAskError(err error) *askError {
	e, ok := errors.AsType[*proxy.Error](err)
	switch {
	case ok:
		return &askError{Code: e.Code.String(), Hop: string(e.Hop), Reason: e.Reason, Fix: e.Fix}
	case errors.Is(err, context.DeadlineExceeded):
		return &askError{Code: proxy.CodeNoPath.String(), Reason: fmt.Sprintf("no answer within %v", answerWithin), Fix: "try again"}
	}
	return &askError{Code: proxy.CodeOther.String(), Reason: err.Error()}
}

// errNotRunning marks that no process uses the state folder.
var errNotRunning = errors.New("no peerway runs")

// ask asks the process that uses the state folder at path, and decodes its answer.
func ask(ctx context.Context, path, method, question string, values url.Values, answer any, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		addr, release, err := socketAddr(state.Socket(path))
		if err != nil {
			return nil, err
		}
		defer release()
		var d net.Dialer
		return d.DialContext(ctx, "unix", addr)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://peerway"+question+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fail(exitOther, "%w with the state folder %s: start one, or name its folder with --state", errNotRunning, path)
	}
	if err != nil {
		return fmt.Errorf("ask the peerway that uses %s: %w", path, err)
	}
	defer resp.Body.Close()
	body := json.NewDecoder(io.LimitReader(resp.Body, 16<<20))
	switch resp.StatusCode {
	case http.StatusOK:
		err = body.Decode(answer)
	case http.StatusBadGateway:
		refused := new(askError)
		if err = body.Decode(refused); err == nil {
			return refused
		}
	default:
		err = fmt.Errorf("it answered %s", resp.Status)
	}
	if err != nil {
		return fmt.Errorf("ask the peerway that uses %s: %w", path, err)
	}
	return nil
}

// failed returns err, and tells programs of it, which read JSON.
func (p *program) failed(ctx context.Context, asJSON bool, err error) error {
	if !asJSON || ctx.Err() != nil {
		return err
	}
	answer := struct {
		Error *askError `json:"error"`
	}{asAskError(err)}
	return errors.Join(err, json.NewEncoder(p.stdout).Encode(answer))
}

// exitCodeOfName returns the exit code for the name of a code.
func exitCodeOfName(name string) int {
	for code := proxy.CodeNone; code <= proxy.CodeNotAllowed; code++ {
		if code.String() == name {
			return exitCodeOf(code)
		}
	}
	return exitOther
}
