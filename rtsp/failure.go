package rtsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"

	"peerway/proxy"
	"peerway/rtsp/camera"
)

// failure explains why a camera could not be opened, or is gone. reason is what the peer
// said about it; it may be empty.
func failure(at place, reason string, err error) *proxy.Error {
	if known, ok := errors.AsType[*proxy.Error](err); ok {
		e := *known
		if e.Target == (proxy.Target{}) {
			e.Target = at.target
		}
		return &e
	}
	e := &proxy.Error{Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: at.target, Reason: reason, Err: err}
	status, refused := errors.AsType[liberrors.ErrClientBadStatusCode](err)
	_, noSDP := errors.AsType[liberrors.ErrClientSDPInvalid](err)
	_, late := errors.AsType[liberrors.ErrClientRequestTimedOut](err)
	_, still := errors.AsType[liberrors.ErrClientTCPTimeout](err)
	switch {
	case refused && reason == "":
		e.Reason = camera.Reason(status.Code, status.Message, true)
	case refused:
	case noSDP:
		e.Reason = "the camera describes its stream in a way that cannot be understood"
	case still: // a camera that is silent itself has a shorter time, see stall
		e.Code, e.Hop, e.Reason = proxy.CodeNoPath, proxy.HopPath, fmt.Sprintf("nothing came from the peer for %v", answerWithin)
		e.Fix = "check its network and try again"
	case late, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.Hop, e.Reason = proxy.HopPath, fmt.Sprintf("no answer within %v", answerWithin)
		e.Code = proxy.CodeNoPath
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Reason = "the camera hung up"
	case e.Reason == "":
		e.Reason = camera.Printable(err.Error())
	}
	if refused && status.Code == base.StatusUnauthorized {
		e.Fix = "correct the user name and password in the URL that the peer exposes"
	}
	return e
}

// refuse returns the answer to a player that gets no stream: always 404, because
// on other codes VLC tries RTSP over HTTP on port 80. The header says why.
func refuse(at place, err error) *base.Response {
	e, ok := errors.AsType[*proxy.Error](err)
	if !ok {
		e = &proxy.Error{Code: proxy.CodeOther, Hop: proxy.HopGateway, Target: at.target, Reason: err.Error()}
	}
	return &base.Response{StatusCode: base.StatusNotFound, Header: base.Header{
		camera.ReasonHeader: base.HeaderValue{camera.Printable(e.Code.String() + "; " + e.Error())},
	}}
}
