package integration_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// errRTSP is what an RTSP server answered instead of 200.
type errRTSP struct {
	code   int
	header textproto.MIMEHeader
}

func (e *errRTSP) Error() string { return fmt.Sprintf("RTSP status %d %v", e.code, e.header) }

// A rawRTSP is a minimal RTSP client, for what real viewers do not do: come and
// go many times a second.
type rawRTSP struct {
	conn   net.Conn
	reader *bufio.Reader
	url    string
	seq    int
	id     string // of the session
}

func dialRTSP(address string) (*rawRTSP, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &rawRTSP{conn: conn, reader: bufio.NewReader(conn), url: address}, nil
}

// do sends a request and returns the answer.
func (c *rawRTSP) do(method, target, header string) (body []byte, answer textproto.MIMEHeader, err error) {
	c.seq++
	if c.id != "" {
		header += "Session: " + c.id + "\r\n"
	}
	if _, err := fmt.Fprintf(c.conn, "%s %s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n", method, target, c.seq, header); err != nil {
		return nil, nil, err
	}
	if err := c.skipPackets(); err != nil {
		return nil, nil, err
	}
	text := textproto.NewReader(c.reader)
	line, err := text.ReadLine()
	if err != nil {
		return nil, nil, err
	}
	if answer, err = text.ReadMIMEHeader(); err != nil {
		return nil, nil, err
	}
	_, status, _ := strings.Cut(line, " ")
	code, _ := strconv.Atoi(strings.SplitN(status, " ", 2)[0])
	length, _ := strconv.Atoi(answer.Get("Content-Length"))
	body = make([]byte, length)
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return nil, nil, err
	}
	if code != 200 {
		return nil, nil, &errRTSP{code, answer}
	}
	return body, answer, nil
}

// skipPackets reads interleaved packets until something else comes.
func (c *rawRTSP) skipPackets() error {
	for {
		first, err := c.reader.Peek(1)
		if err != nil || first[0] != '$' {
			return err
		}
		if err := c.packet(); err != nil {
			return err
		}
	}
}

// packet reads one interleaved packet.
func (c *rawRTSP) packet() error {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.reader, head); err != nil {
		return err
	}
	if head[0] != '$' {
		return fmt.Errorf("no packet but %q", head)
	}
	_, err := c.reader.Discard(int(head[2])<<8 | int(head[3]))
	return err
}

// play sets up the first medium and returns when its first packet is there.
func (c *rawRTSP) play() error {
	sdp, header, err := c.do("DESCRIBE", c.url, "Accept: application/sdp\r\n")
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	_, media, found := strings.Cut(string(sdp), "m=video")
	_, control, found2 := strings.Cut(media, "a=control:")
	if !found || !found2 {
		return errors.New("no control attribute: " + string(sdp))
	}
	control = strings.TrimSpace(strings.SplitN(control, "\n", 2)[0])
	if !strings.HasPrefix(control, "rtsp://") {
		base := c.url
		if given := header.Get("Content-Base"); given != "" {
			base = given
		}
		control = strings.TrimSuffix(base, "/") + "/" + control
	}
	_, header, err = c.do("SETUP", control, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	c.id, _, _ = strings.Cut(header.Get("Session"), ";")
	if _, _, err := c.do("PLAY", c.url, "Range: npt=0-\r\n"); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	if err := c.packet(); err != nil {
		return fmt.Errorf("first packet: %w", err)
	}
	return nil
}

// openAndClose plays a URL until the first packet and leaves: politely, or by
// closing the connection under the server's hands.
func openAndClose(address string, politely bool) error {
	c, err := dialRTSP(address)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.play(); err != nil {
		return err
	}
	if politely {
		_, _, err = c.do("TEARDOWN", c.url, "")
	}
	return err
}
