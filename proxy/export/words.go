package export

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// A dialError says in words why a server cannot be reached. Its text is shown
// to the person at the gateway, and to the one beside the server: it says neither here nor there.
type dialError struct {
	text string
	err  error
}

func (e *dialError) Error() string { return e.text }
func (e *dialError) Unwrap() error { return e.err }

// inWords explains to a person why dialing addr failed after the given time.
func inWords(err error, addr string, after time.Duration) error {
	where := addr
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		where = op.Addr.String()
	}
	text := fmt.Sprintf("no connection to %s", where)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	alert, isAlert := errors.AsType[tls.AlertError](err)
	switch {
	case outOfFiles(err):
		text += ": " + tooManyFiles
	case isDNS && dns.IsNotFound:
		text = fmt.Sprintf("the name %s cannot be looked up: it is not known", dns.Name)
	case isDNS:
		text = fmt.Sprintf("the name %s cannot be looked up now", dns.Name)
	case errors.Is(err, errRefused):
		text = fmt.Sprintf("connection refused by %s", where)
	case errors.Is(err, errHostUnreachable), errors.Is(err, errNetUnreachable):
		text = fmt.Sprintf("%s cannot be reached: it is off, or in another network", where)
	case errors.Is(err, errReset), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = fmt.Sprintf("%s closed the connection at once", where)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		text = fmt.Sprintf("no answer from %s within %.0f s", where, after.Seconds())
	case isType[*tls.CertificateVerificationError](err):
		text = fmt.Sprintf("the certificate of %s is not trusted%s", where, why(err))
	case isType[tls.RecordHeaderError](err):
		text = fmt.Sprintf("%s does not speak TLS: expose it as http://", where)
	case isAlert:
		text = fmt.Sprintf("%s refused TLS: %v", where, alert)
	}
	return &dialError{text: text, err: err}
}

// tooManyFiles is what that means and what to do, for people at either end.
const tooManyFiles = "peerway has run out of files; allow it more, with ulimit -n, or LimitNOFILE= of its service"

// outOfFiles reports whether it was this process, and not the server, that could not.
func outOfFiles(err error) bool { return errors.Is(err, errNoFiles) || errors.Is(err, errNoFilesHere) }

// why says in a few words why a certificate was not trusted.
func why(err error) string {
	switch {
	case isType[x509.HostnameError](err):
		return ": it is for another name"
	case isType[x509.UnknownAuthorityError](err):
		return ": its issuer is unknown; expose it as https+insecure:// if that is meant"
	}
	return ""
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
