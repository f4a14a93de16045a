package proxy

import "bytes"

// A protocol is what a client speaks, as its first bytes tell.
type protocol uint8

const (
	undecided protocol = iota // more bytes are needed
	httpProtocol
	rtspProtocol
	tlsProtocol
	socksProtocol
	unknownProtocol
)

// String names p in words for a log line.
func (p protocol) String() string {
	switch p {
	case httpProtocol:
		return "HTTP"
	case rtspProtocol:
		return "RTSP"
	case tlsProtocol:
		return "TLS"
	case socksProtocol:
		return "SOCKS"
	case undecided:
		return "no complete request"
	}
	return "unknown protocol"
}

const (
	maxMethod      = 32      // bytes of the longest method that is looked at
	maxRequestLine = 8 << 10 // bytes of the first line that are looked at
)

// sniff tells the protocol from the first bytes of a connection. It answers
// undecided only while more bytes can change that: at most maxRequestLine.
// What is longer and begins like HTTP is HTTP, whose server refuses it politely.
func sniff(b []byte) protocol {
	if len(b) == 0 {
		return undecided
	}
	switch b[0] {
	case 0x16: // a handshake record
		return tlsProtocol
	case 0x04, 0x05: // a version
		return socksProtocol
	}
	space := bytes.IndexFunc(b[:min(len(b), maxMethod+1)], func(r rune) bool { return !isToken(r) })
	switch {
	case space < 0 && len(b) <= maxMethod:
		return undecided
	case space <= 0 || b[space] != ' ':
		return unknownProtocol
	case isRTSPMethod(string(b[:space])):
		return rtspProtocol
	}
	return sniffLine(b[space+1:], len(b))
}

// sniffLine tells the protocol from the request line after its method. In all
// total bytes of the connection are known.
func sniffLine(rest []byte, total int) protocol {
	line, _, complete := bytes.Cut(rest, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return unknownProtocol
	}
	if !complete && total < maxRequestLine {
		return undecided
	}
	if !complete {
		if hasPrefixFold(line, "rtsp://") {
			return rtspProtocol
		}
		return httpProtocol
	}
	version := line[bytes.LastIndexByte(line, ' ')+1:]
	switch {
	case len(version) == len(line): // there is no URL
		return unknownProtocol
	case isVersion(version, "HTTP/"):
		return httpProtocol
	case isVersion(version, "RTSP/"):
		return rtspProtocol
	}
	return unknownProtocol
}

// isToken reports whether r may stand in a method (RFC 9110, section 5.6.2).
func isToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r < 0x7f && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(r)) >= 0
}

// isRTSPMethod reports whether HTTP has no such method (RFC 2326, section 10).
// OPTIONS is in both.
func isRTSPMethod(method string) bool {
	switch method {
	case "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN",
		"GET_PARAMETER", "SET_PARAMETER", "REDIRECT", "RECORD":
		return true
	}
	return false
}

// isVersion reports whether v is name and two digits around a full stop.
func isVersion(v []byte, name string) bool {
	n := len(name)
	return len(v) == n+3 && string(v[:n]) == name &&
		isDigit(v[n]) && v[n+1] == '.' && isDigit(v[n+2])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && bytes.EqualFold(b[:len(prefix)], []byte(prefix))
}
