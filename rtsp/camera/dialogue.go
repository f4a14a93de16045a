package camera

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// maxPending is how many requests may wait for an answer. Some cameras never
// answer a keep-alive.
const maxPending = 32

// An exchange is a request that the camera has not answered yet.
type exchange struct {
	number  int          // CSeq towards the camera
	cseq    string       // CSeq of the gateway; empty for our own requests
	asked   *base.URL    // URL as the gateway wrote it
	request base.Request // as it was sent to the camera
	retried bool         // already answered a challenge
}

// A dialogue translates between a gateway and a camera on one connection. It is
// pure: it is told messages and returns the bytes to send. It must not be used
// by two goroutines at once.
type dialogue struct {
	camera   *base.URL    // with credentials
	login    *auth.Sender // answers the camera's last challenge; nil before one
	refused  bool         // the camera does not take the credentials
	number   int          // CSeq of the last request to the camera
	pending  []exchange   // in the order of sending
	controls controls     // of the last description
	session  string       // of the camera; empty before SETUP
	tearing  bool         // TEARDOWN was sent
	over     bool         // TEARDOWN was answered
}

func newDialogue(camera *base.URL) *dialogue {
	return &dialogue{camera: camera, controls: controls{session: camera}}
}

var errMessage = errors.New("malformed message")

// ask translates a request of the gateway. It returns what to send to the
// camera, or an answer for the gateway if the camera shall not see the request.
func (d *dialogue) ask(head, body []byte) (toCamera, toGateway []byte, err error) {
	var req base.Request
	if err := req.Unmarshal(reader(head, body)); err != nil || !clean(head) {
		return nil, nil, fmt.Errorf("request of the gateway: %w", errMessage)
	}
	cseq := req.Header["CSeq"]
	if len(cseq) != 1 || strings.TrimSpace(cseq[0]) == "" {
		return nil, nil, fmt.Errorf("request of the gateway without CSeq: %w", errMessage)
	}
	asked := req.URL
	status, reason := d.translate(&req)
	if status != base.StatusOK {
		return nil, refusal(cseq[0], status, reason), nil
	}
	if req.Method == base.Teardown {
		d.tearing = true
	}
	return d.send(exchange{cseq: strings.TrimSpace(cseq[0]), asked: asked, request: req}), nil, nil
}

// clean reports whether a head has no control characters but its line ends. A
// camera might take one for a line end and see a request that we did not.
func clean(head []byte) bool {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return false
		}
	}
	return true
}

// translate turns a request of the gateway into one to the camera, or says why
// not.
func (d *dialogue) translate(req *base.Request) (base.StatusCode, string) {
	switch req.Method {
	case base.Options, base.Describe, base.Setup, base.Play, base.Pause,
		base.Teardown, base.GetParameter, base.SetParameter:
	default:
		return base.StatusMethodNotAllowed, "the peer exposes this camera for watching only"
	}
	if req.Method == base.Setup && !interleaved(req.Header["Transport"]) {
		// The camera would send its packets to this peer, and nobody would read them.
		return base.StatusUnsupportedTransport, "media must be interleaved in the connection"
	}
	u, err := d.locate(req.Method, req.URL)
	if err != nil {
		return base.StatusNotFound, err.Error()
	}
	req.URL = u
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Content-Length", "Referer", "Blocksize"} {
		delete(req.Header, name)
	}
	req.Header["User-Agent"] = base.HeaderValue{"Peerway"}
	return base.StatusOK, ""
}

// interleaved reports whether every transport offered stays in the connection.
func interleaved(v base.HeaderValue) bool {
	for _, line := range v {
		for offer := range strings.SplitSeq(line, ",") {
			profile, _, _ := strings.Cut(strings.TrimSpace(offer), ";")
			if !strings.HasSuffix(strings.ToUpper(profile), "AVP/TCP") {
				return false
			}
		}
	}
	return len(v) > 0
}

// locate returns the camera's URL for a URL that the gateway asks for.
func (d *dialogue) locate(method base.Method, u *base.URL) (*base.URL, error) {
	switch {
	case u == nil && method == base.Options:
		return nil, nil
	case u == nil:
		return nil, errors.New("a URL is missing")
	case method == base.Options, method == base.Describe:
		return join(d.camera, u)
	case method != base.Setup:
		return d.controls.session, nil
	}
	text := u.String()
	if i := strings.LastIndex(text, "/trackID="); i >= 0 {
		n, err := strconv.ParseUint(text[i+len("/trackID="):], 10, 16)
		if err != nil || int(n) >= len(d.controls.tracks) {
			return nil, errors.New("the camera has no such track")
		}
		return d.controls.tracks[n], nil
	}
	return d.controls.session, nil
}

// join returns the camera's URL with the path and the query of u added. Neither
// can lead out of what is exposed.
func join(camera, u *base.URL) (*base.URL, error) {
	path := strings.Trim(u.Path, "/")
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if step == "." || step == ".." {
			return nil, errors.New("a path with dots leads nowhere")
		}
	}
	out := camera.Clone()
	if path != "" {
		added := url.URL{Path: "/" + path}
		out.RawPath = strings.TrimRight((*url.URL)(camera).EscapedPath(), "/") + added.EscapedPath()
		out.Path = strings.TrimRight(camera.Path, "/") + added.Path
	}
	out.RawQuery = joinQueries(camera.RawQuery, u.RawQuery)
	return out, nil
}

// joinQueries adds a query to a fixed one. What the fixed one sets stays as it
// is: channel=1 would be no limit if channel=2 could follow.
func joinQueries(fixed, added string) string {
	separator := func(r rune) bool { return r == '&' || r == ';' }
	if fixed == "" {
		return added
	}
	var taken []string
	for pair := range strings.FieldsFuncSeq(fixed, separator) {
		taken = append(taken, parameter(pair))
	}
	for pair := range strings.FieldsFuncSeq(added, separator) {
		if !slices.Contains(taken, parameter(pair)) {
			fixed += "&" + pair
		}
	}
	return fixed
}

// parameter returns the name in NAME=VALUE, as a camera may read it.
func parameter(pair string) string {
	name, _, _ := strings.Cut(pair, "=")
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// send returns a request with number and credentials, and remembers it.
func (d *dialogue) send(e exchange) []byte {
	d.number++
	e.number = d.number
	e.request.Header["CSeq"] = base.HeaderValue{strconv.Itoa(e.number)}
	if d.login != nil && e.request.URL != nil {
		d.login.AddAuthorization(&e.request)
	}
	if len(d.pending) == maxPending {
		d.pending = slices.Delete(d.pending, 0, 1)
	}
	d.pending = append(d.pending, e)
	raw, _ := e.request.Marshal() // cannot fail
	return raw
}

// teardown returns the TEARDOWN that ends the camera's session, or nil if there
// is none or it is ended already.
func (d *dialogue) teardown() []byte {
	if d.session == "" || d.tearing {
		return nil
	}
	d.tearing = true
	return d.send(exchange{request: base.Request{
		Method: base.Teardown,
		URL:    d.controls.session,
		Header: base.Header{"Session": base.HeaderValue{d.session}, "User-Agent": base.HeaderValue{"Peerway"}},
	}})
}

// giveUp returns answers of our own to all requests that the camera leaves
// unanswered, because of err.
func (d *dialogue) giveUp(err error) (toGateway []byte) {
	for _, e := range d.pending {
		if e.cseq != "" {
			toGateway = append(toGateway, refusal(e.cseq, base.StatusBadGateway, excuse(err))...)
		}
	}
	d.pending = nil
	return toGateway
}

// refusal returns an answer of our own to a request of the gateway.
func refusal(cseq string, status base.StatusCode, reason string) []byte {
	raw, _ := base.Response{StatusCode: status, Header: base.Header{
		"CSeq":       base.HeaderValue{strings.TrimSpace(cseq)},
		ReasonHeader: base.HeaderValue{Printable(reason)},
	}}.Marshal()
	return raw
}

func reader(head, body []byte) *bufio.Reader {
	return bufio.NewReader(bytes.NewReader(slices.Concat(head, body)))
}
