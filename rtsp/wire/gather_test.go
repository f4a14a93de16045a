package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rtpFrame returns an interleaved frame with a packet of media.
func rtpFrame(channel byte, last bool, size int) []byte {
	frame := make([]byte, 4+size)
	frame[0], frame[1], frame[2], frame[3] = '$', channel, byte(size>>8), byte(size)
	frame[4], frame[5] = 0x80, 96
	if last {
		frame[5] |= 0x80
	}
	return frame
}

// writes notes the sizes of what is written, and fails when it is told to.
type writes struct {
	mu    sync.Mutex
	sizes []int
	bytes bytes.Buffer
	err   error
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.sizes = append(w.sizes, len(p))
	return w.bytes.Write(p)
}

// take returns the sizes of what was written since the last call.
func (w *writes) take() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.sizes = nil }()
	return w.sizes
}

func (w *writes) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *writes) wrote(want []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Equal(w.bytes.Bytes(), want)
}

func TestGathererWritesPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const full, end, report = 4 + 1400, 4 + 300, 4 + 28
		var out writes
		g := NewGatherer(&out)
		var want bytes.Buffer
		write := func(p []byte) {
			t.Helper()
			want.Write(p)
			if n, err := g.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
			}
		}
		expect := func(what string, sizes ...int) {
			t.Helper()
			if got := out.take(); !slices.Equal(got, sizes) || len(got) > 0 && !out.wrote(want.Bytes()) {
				t.Errorf("%s: writes of %d bytes, want %d", what, got, sizes)
			}
		}

		for range 13 {
			write(rtpFrame(0, false, 1400))
		}
		expect("before the picture is complete")
		write(rtpFrame(0, true, 300))
		expect("a picture", 13*full+end)

		write(rtpFrame(0, true, 300))
		expect("a picture of one packet", end)

		write(rtpFrame(0, false, 1400))
		write(rtpFrame(1, false, 28))
		expect("a report", full+report)

		answer := []byte("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
		write(rtpFrame(0, false, 1400))
		write(answer)
		expect("an answer", full+len(answer))

		for range 24 {
			write(rtpFrame(0, false, 1400))
		}
		write(rtpFrame(0, true, 300))
		expect("a large picture", 23*full, full+end)

		write(rtpFrame(0, false, 40000))
		write(rtpFrame(0, true, 300))
		expect("a large packet", 4+40000, end)

		write(rtpFrame(2, false, 1400))
		time.Sleep(gatherFor - 1)
		synctest.Wait()
		expect("before the time")
		time.Sleep(1)
		synctest.Wait()
		expect("after the time", full)
		time.Sleep(time.Second)
		synctest.Wait()
		expect("nothing held")
	})
}

func TestGathererEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out writes
		g := NewGatherer(&out)
		g.Write(rtpFrame(0, false, 1400))
		if err, n := g.Close(), len(out.take()); err != nil || n != 1 {
			t.Errorf("Close() = %v and %d writes, want one of what was held", err, n)
		}
		if _, err := g.Write(rtpFrame(0, true, 100)); !errors.Is(err, net.ErrClosed) || len(out.take()) != 0 {
			t.Errorf("Write after Close: %v, want %v and nothing written", err, net.ErrClosed)
		}

		out.fail(io.ErrClosedPipe)
		g = NewGatherer(&out)
		if _, err := g.Write(rtpFrame(0, false, 1400)); err != nil {
			t.Errorf("Write of what is held back: %v", err)
		}
		time.Sleep(gatherFor)
		synctest.Wait()
		out.fail(nil)
		if _, err := g.Write(rtpFrame(0, true, 100)); !errors.Is(err, io.ErrClosedPipe) || len(out.take()) != 0 {
			t.Errorf("Write after a failure: %v, want %v and nothing written", err, io.ErrClosedPipe)
		}
	})
}

func TestGathererAllocates(t *testing.T) {
	full, end := rtpFrame(0, false, 1400), rtpFrame(0, true, 300)
	g := NewGatherer(io.Discard)
	defer g.Close()
	got := testing.AllocsPerRun(100, func() {
		for range 13 {
			g.Write(full)
		}
		g.Write(end)
	})
	if got != 0 {
		t.Errorf("%v allocations for a picture, want none", got)
	}
}

func BenchmarkGather(b *testing.B) {
	full, end := rtpFrame(0, false, 1400), rtpFrame(0, true, 300)
	g := NewGatherer(io.Discard)
	defer g.Close()
	b.ReportAllocs()
	for b.Loop() { // a picture of 14 packets
		for range 13 {
			g.Write(full)
		}
		g.Write(end)
	}
}
