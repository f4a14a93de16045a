package camera

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"peerway/rtsp/wire"
)

// ReasonHeader is the header of an answer to the gateway in which the peer says
// why a request failed. Its value is at most 200 printable characters.
const ReasonHeader = "Peerway-Error"

// Reason returns what the status of a camera's answer means, in words. loggedIn
// tells whether credentials were sent.
func Reason(status base.StatusCode, message string, loggedIn bool) string {
	switch {
	case status == base.StatusUnauthorized && loggedIn:
		return "the camera refuses the user name or password"
	case status == base.StatusUnauthorized:
		return "the camera wants a password"
	case status == base.StatusNotFound:
		return "no such stream: the camera answers 404"
	case status == base.StatusNotEnoughBandwidth:
		return "the camera has no session left: it answers 453"
	case status == base.StatusUnsupportedTransport:
		return "the camera does not send over TCP: it answers 461"
	case message == "":
		return fmt.Sprintf("the camera answers %d", int(status))
	}
	return fmt.Sprintf("the camera answers %d %s", int(status), Printable(message))
}

// Printable returns text with everything replaced that does not belong into a
// header or a log line, cut to 200 characters.
func Printable(text string) string {
	if len(text) > 200 {
		text = text[:200]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// inWords returns an error that says to a person, at the gateway or beside the camera, why
// that could not be asked, and that still is err.
func inWords(err error, address string, within time.Duration) error {
	var text string
	name, unknown := errors.AsType[*net.DNSError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, errNoFiles), errors.Is(err, errNoFilesHere):
		text = fmt.Sprintf("no connection to %s: peerway has run out of files; allow it more, with ulimit -n, or LimitNOFILE= of its service", address)
	case unknown:
		text = fmt.Sprintf("the name %s cannot be looked up: it is not known", name.Name)
	case certificate:
		text = fmt.Sprintf("the certificate of %s is not trusted; rtsps+insecure:// takes it", address)
	case plain:
		text = fmt.Sprintf("%s does not speak TLS: expose it as rtsp://", address)
	case errors.Is(err, errRefused):
		text = "connection refused by " + address
	case errors.Is(err, errReset):
		text = "connection cut by " + address
	case errors.Is(err, errHostUnreachable), errors.Is(err, errNetUnreachable):
		text = address + " cannot be reached: it is off, or in another network"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer within %v from %s", within, address)
	default:
		return err
	}
	return &worded{text: text, err: err}
}

var errNoAnswer = fmt.Errorf("no answer within %v", answerWithin)

// excuse says to a person at the gateway why the camera left a request
// unanswered, without an address of the camera.
func excuse(err error) string {
	switch {
	case errors.Is(err, errHTTP):
		return errHTTP.Error()
	case errors.Is(err, wire.ErrNoRTSP):
		return "the camera's answer is " + err.Error()
	case errors.Is(err, wire.ErrTooLarge):
		return "the camera sent a " + err.Error()
	case errors.Is(err, errMessage):
		return "the camera sent a " + errMessage.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the camera hung up without an answer"
	case errors.Is(err, errReset):
		return "the camera cut the connection"
	case errors.Is(err, errNoAnswer):
		return "the camera accepted the connection, but sent " + err.Error()
	}
	return "the connection to the camera broke"
}

// worded is an error with a text of its own.
type worded struct {
	text string
	err  error
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.err }
