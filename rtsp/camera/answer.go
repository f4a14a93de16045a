package camera

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

var errHTTP = errors.New("it speaks HTTP, not RTSP: is this the camera's RTSP port?")

// hear translates a message of the camera. It returns what to send to the
// gateway, what to send back to the camera, or neither.
func (d *dialogue) hear(head, body []byte) (toGateway, toCamera []byte, err error) {
	if bytes.HasPrefix(head, []byte("HTTP/")) {
		return nil, nil, errHTTP
	}
	if !bytes.HasPrefix(head, []byte("RTSP/")) {
		return nil, d.oblige(head, body), nil
	}
	var res base.Response
	if err := res.Unmarshal(reader(head, body)); err != nil {
		return nil, nil, fmt.Errorf("answer of the camera: %w", errMessage)
	}
	e, ok := d.take(res.Header)
	if !ok {
		return nil, nil, nil // late: its request is forgotten
	}
	if res.StatusCode == base.StatusUnauthorized {
		if again := d.logIn(e, res.Header); again != nil {
			return nil, again, nil
		}
	}
	d.learn(e, &res)
	if e.cseq == "" {
		return nil, nil, nil // it was our own TEARDOWN
	}
	d.disguise(e, &res)
	raw, _ := res.Marshal() // cannot fail
	return raw, nil, nil
}

// oblige answers a request of the camera itself: a gateway would not know it.
func (d *dialogue) oblige(head, body []byte) []byte {
	var req base.Request
	if err := req.Unmarshal(reader(head, body)); err != nil || len(req.Header["CSeq"]) != 1 {
		return nil
	}
	status := base.StatusNotImplemented
	switch req.Method {
	case base.Options, base.GetParameter, base.SetParameter:
		status = base.StatusOK
	}
	raw, _ := base.Response{StatusCode: status, Header: base.Header{"CSeq": req.Header["CSeq"]}}.Marshal()
	return raw
}

// take returns the request that an answer belongs to: the one with its number,
// or the oldest if the camera does not repeat numbers.
func (d *dialogue) take(h base.Header) (exchange, bool) {
	i := 0
	if v := h["CSeq"]; len(v) == 1 {
		number, err := strconv.Atoi(strings.TrimSpace(v[0]))
		if err != nil {
			return exchange{}, false
		}
		i = slices.IndexFunc(d.pending, func(e exchange) bool { return e.number == number })
	}
	if i < 0 || i >= len(d.pending) {
		return exchange{}, false
	}
	e := d.pending[i]
	d.pending = slices.Delete(d.pending, i, i+1)
	return e, true
}

// logIn returns the request of e again, with credentials for the challenge in h,
// or nil if that is no use. Each request is repeated once at most, and none
// after a refusal: cameras lock accounts.
func (d *dialogue) logIn(e exchange, h base.Header) []byte {
	if d.camera.User == nil || d.refused || e.request.URL == nil {
		return nil
	}
	if e.retried {
		d.refused = true
		return nil
	}
	password, _ := d.camera.User.Password()
	login := &auth.Sender{WWWAuth: h["WWW-Authenticate"], User: d.camera.User.Username(), Pass: password}
	if err := login.Initialize(); err != nil {
		d.refused = true
		return nil
	}
	d.login, e.retried = login, true
	return d.send(e)
}

// learn takes from an answer what later requests need.
func (d *dialogue) learn(e exchange, res *base.Response) {
	switch ok := res.StatusCode == base.StatusOK; {
	case e.request.Method == base.Teardown:
		d.over = true
	case e.request.Method == base.Setup && ok && len(res.Header["Session"]) == 1:
		id, _, _ := strings.Cut(res.Header["Session"][0], ";")
		d.session, d.tearing, d.over = strings.TrimSpace(id), false, false
	case e.request.Method == base.Describe && ok:
		res.Body, d.controls = takeControls(res.Body, contentBase(res.Header, e.request.URL))
	}
}

// disguise makes the camera's answer one to the gateway: with its number, with
// its URLs, without addresses, challenges and redirections.
func (d *dialogue) disguise(e exchange, res *base.Response) {
	h := base.Header{"CSeq": base.HeaderValue{e.cseq}}
	for _, name := range []string{
		"Session", "Public", "Allow", "Range", "Scale", "Speed", "Content-Type",
		"Unsupported", "Require", "Cache-Control", "Date", "Server",
	} {
		if v := res.Header[name]; len(v) > 0 {
			h[name] = v
		}
	}
	for _, v := range res.Header["Transport"] {
		h["Transport"] = append(h["Transport"], withoutHosts(v))
	}
	if v := res.Header["RTP-Info"]; len(v) == 1 && e.asked != nil {
		if info := d.rtpInfo(v[0], e.asked); info != "" {
			h["RTP-Info"] = base.HeaderValue{info}
		}
	}
	if e.request.Method == base.Describe && res.StatusCode == base.StatusOK {
		h["Content-Base"] = base.HeaderValue{e.asked.String() + "/"}
	}
	if 300 <= res.StatusCode && res.StatusCode < 400 {
		// Where it leads to is not exposed.
		res.StatusCode, res.StatusMessage = base.StatusBadGateway, ""
		h[ReasonHeader] = base.HeaderValue{"the camera redirects to another address: expose that one"}
	} else if res.StatusCode != base.StatusOK {
		h[ReasonHeader] = base.HeaderValue{Printable(Reason(res.StatusCode, res.StatusMessage, d.camera.User != nil))}
	}
	if res.StatusCode != base.StatusOK {
		res.Body = nil
	}
	res.Header = h
}

// withoutHosts returns the value of a Transport header without the parameters
// that name hosts (RFC 2326, 12.39).
func withoutHosts(transport string) string {
	fields := slices.DeleteFunc(strings.Split(transport, ";"), func(field string) bool {
		name, _, _ := strings.Cut(field, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		return name == "source" || name == "destination"
	})
	return strings.Join(fields, ";")
}

// rtpInfo returns the camera's RTP-Info with the gateway's URLs. The entries of
// tracks that cannot be told are left out.
func (d *dialogue) rtpInfo(value string, asked *base.URL) string {
	var out []string
	for entry := range strings.SplitSeq(value, ",") {
		fields := strings.Split(strings.TrimSpace(entry), ";")
		text, ok := strings.CutPrefix(fields[0], "url=")
		if !ok {
			continue
		}
		u := resolve(d.controls.session, strings.Trim(text, `"`)).String()
		track := slices.IndexFunc(d.controls.tracks, func(t *base.URL) bool { return t.String() == u })
		if track < 0 {
			continue
		}
		fields[0] = "url=" + strings.TrimRight(asked.String(), "/") + "/trackID=" + strconv.Itoa(track)
		out = append(out, strings.Join(fields, ";"))
	}
	return strings.Join(out, ",")
}
