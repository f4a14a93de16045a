package loop

import (
	"sync/atomic"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
)

// A handler answers the viewers' requests.
type handler struct {
	cfg    Config
	stream atomic.Pointer[gortsplib.ServerStream] // nil until it is initialized
}

// OnDescribe implements [gortsplib.ServerHandlerOnDescribe].
func (h *handler) OnDescribe(r *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return h.answer(r.Conn, r.Request, r.Path)
}

// OnSetup implements [gortsplib.ServerHandlerOnSetup].
func (h *handler) OnSetup(r *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return h.answer(r.Conn, r.Request, r.Path)
}

// OnPlay implements [gortsplib.ServerHandlerOnPlay].
func (h *handler) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (h *handler) answer(c *gortsplib.ServerConn, r *base.Request, path string) (*base.Response, *gortsplib.ServerStream, error) {
	stream := h.stream.Load()
	switch {
	case h.cfg.User != "" && !c.VerifyCredentials(r, h.cfg.User, h.cfg.Password):
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	case stream == nil:
		return &base.Response{StatusCode: base.StatusServiceUnavailable}, nil, nil
	case path != "/"+h.cfg.Path:
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, stream, nil
}
