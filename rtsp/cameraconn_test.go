package rtsp

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

// media returns a frame with an RTP packet.
func media(channel, payloadType byte, ssrc uint32) string {
	p := binary.BigEndian.AppendUint32([]byte{'$', channel, 0, 14, 0x80, payloadType, 0, 1, 0, 0, 0, 2}, ssrc)
	return string(p) + "xy"
}

// reports returns a frame with a sender report and a description of the source.
func reports(channel byte, ssrc uint32) string {
	p := binary.BigEndian.AppendUint32([]byte{'$', channel, 0, 36, 0x80, 200, 0, 6}, ssrc)
	p = append(p, strings.Repeat("t", 20)...)
	p = binary.BigEndian.AppendUint32(append(p, 0x81, 202, 0, 1), ssrc)
	return string(p)
}

func TestCameraConnKeepsSSRCs(t *testing.T) {
	near, far := pair(t)
	c := newCameraConn(near)
	defer c.Close()
	early := media(0, 96, 99)
	answer := "RTSP/1.0 200 OK\r\nContent-Length: 22\r\n\r\n" + media(0, 96, 7) // a body that looks like media
	answer = strings.Replace(answer, "22", "18", 1)
	io.WriteString(far, early+answer)
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v\nwant %q", got, err, want)
		}
	}
	read(answer) // media before PLAY is left out: it would end the connection

	io.WriteString(c, "PLAY rtsp://camera/ RTSP/1.0\r\n\r\n")
	for _, step := range []struct{ sent, want string }{
		{media(0, 96, 1), media(0, 96, 1)},
		{media(2, 0, 5), media(2, 0, 5)},
		{media(0, 96, 2), media(0, 96, 1)},
		{media(0, 96, 3), media(0, 96, 1)},
		{media(0, 97, 4), media(0, 97, 4)},
		{media(2, 0, 5), media(2, 0, 5)},
		{reports(1, 5), reports(1, 5)}, // of no track on that channel
		{"$\x00\x00\x03abc", "$\x00\x00\x03abc"},
		{"$\x01\x00\x04\x80\xc8\xff\xff", "$\x01\x00\x04\x80\xc8\xff\xff"},
	} {
		io.WriteString(far, step.sent)
		read(step.want)
	}
	io.WriteString(far, reports(1, 3))
	want := []byte(reports(1, 3))
	want[11] = 1 // the report's, not the description's
	read(string(want))
}

func TestCameraConnFlushesItsLastWords(t *testing.T) {
	near, far := pair(t)
	c := newCameraConn(near)
	var camera, reader sync.WaitGroup
	var heard []byte
	camera.Go(func() {
		io.WriteString(far, strings.Repeat(media(0, 96, 1), 1000)) // unread data must not reset the connection
		heard, _ = io.ReadAll(far)
		io.WriteString(far, "RTSP/1.0 200 OK\r\n\r\n")
		far.Close()
	})
	reader.Go(func() { io.Copy(io.Discard, c) }) // as gortsplib's
	io.WriteString(c, "TEARDOWN rtsp://camera/ RTSP/1.0\r\n\r\n")
	start := time.Now()
	c.Close()
	camera.Wait()
	reader.Wait()
	if !strings.HasPrefix(string(heard), "TEARDOWN ") {
		t.Errorf("the camera heard %q", heard)
	}
	if d := time.Since(start); d > flushWithin/2 {
		t.Errorf("closing took %v", d)
	}
}

func TestCameraConnClosesWithoutAnAnswer(t *testing.T) {
	near, _ := pair(t)
	c := newCameraConn(near)
	start := time.Now()
	c.Close()
	if d := time.Since(start); d < flushWithin || d > 3*flushWithin {
		t.Errorf("closing took %v, want about %v", d, flushWithin)
	}
}
