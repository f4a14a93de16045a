package wire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"peerway/rtsp/wire"
)

const describe = "DESCRIBE rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n"

func frame(channel byte, payload string) string {
	return string([]byte{'$', channel, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

func TestReaderCutsMessagesAndFrames(t *testing.T) {
	large := strings.Repeat("x", 60000)
	answer := "RTSP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n$$$$$"
	want := []string{describe, frame(0, "abc"), frame(1, large), frame(2, ""), answer, frame(0, "z")}
	stream := strings.Join(want, "") + "\r\n\x00"
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			reader := wire.NewReader(r)
			for i, w := range want {
				p, err := reader.Next()
				if err != nil {
					t.Fatalf("part %d: %v", i, err)
				}
				if got := string(p.Frame) + string(p.Head) + string(p.Body); got != w {
					t.Errorf("part %d is %.40q, want %.40q", i, got, w)
				}
			}
			if _, err := reader.Next(); err != io.EOF {
				t.Errorf("after the last part: %v, want EOF", err)
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   error
	}{
		"large head":      {"GET_PARAMETER a RTSP/1.0\r\nX: " + strings.Repeat("x", wire.MaxHead), wire.ErrTooLarge},
		"many headers":    {"PLAY a RTSP/1.0\r\n" + strings.Repeat("A: b\r\n", 4000), wire.ErrTooLarge},
		"large body":      {"PLAY a RTSP/1.0\r\nContent-Length: 200000\r\n\r\n", wire.ErrTooLarge},
		"huge body":       {"PLAY a RTSP/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n", wire.ErrNoRTSP},
		"negative body":   {"PLAY a RTSP/1.0\r\nContent-Length: -1\r\n\r\n", wire.ErrNoRTSP},
		"cut head":        {"PLAY a RTSP/1.0\r\n", io.ErrUnexpectedEOF},
		"cut body":        {"PLAY a RTSP/1.0\r\nContent-Length: 3\r\n\r\nab", io.ErrUnexpectedEOF},
		"cut frame":       {"$\x00\x00\x05abc", io.ErrUnexpectedEOF},
		"cut large frame": {"$\x00\xff\x05abc", io.ErrUnexpectedEOF},
		"junk":            {strings.Repeat("\x00", 1<<20), wire.ErrNoRTSP},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := wire.NewReader(strings.NewReader(c.stream)).Next(); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// FuzzReader checks that what the reader returns was in the stream, in order,
// and within the limits.
func FuzzReader(f *testing.F) {
	f.Add([]byte(describe + frame(0, "abc")))
	f.Add([]byte("RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab$\x01\x00\x01x"))
	f.Add([]byte("\r\n\r\nPLAY\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		reader, rest := wire.NewReader(bytes.NewReader(stream)), stream
		for {
			p, err := reader.Next()
			if err != nil {
				return
			}
			whole := append(append(bytes.Clone(p.Frame), p.Head...), p.Body...)
			at := bytes.Index(rest, whole)
			if at < 0 {
				t.Fatalf("part %q is not in the stream", whole)
			}
			rest = rest[at+len(whole):]
			if len(p.Head) > wire.MaxHead || len(p.Body) > wire.MaxBody {
				t.Fatalf("head of %d and body of %d bytes", len(p.Head), len(p.Body))
			}
		}
	})
}

func BenchmarkReaderFrames(b *testing.B) {
	stream := []byte(strings.Repeat(frame(0, strings.Repeat("x", 1400)), 100))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		reader := wire.NewReader(bytes.NewReader(stream))
		for {
			if _, err := reader.Next(); err != nil {
				break
			}
		}
	}
}
