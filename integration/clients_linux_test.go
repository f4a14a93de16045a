package integration_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A download is what a web client got.
type download struct {
	bytes int64
	hash  string
	stall time.Duration // the longest time in which nothing came, after the first byte
	err   error
}

// fetch downloads a URL with curl. after, which may be nil, is called with the
// number of bytes received so far each time some arrive.
func fetch(ctx context.Context, at place, url string, after func(bytes int64)) (d download) {
	cmd := at.Command(ctx, "curl", "--silent", "--show-error", "--fail", "--no-buffer", "--noproxy", "*", url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return download{err: err}
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return download{err: err}
	}
	sum, buffer, last := sha256.New(), make([]byte, 1<<18), time.Time{}
	for {
		n, err := out.Read(buffer)
		if n > 0 {
			now := time.Now()
			if !last.IsZero() {
				d.stall = max(d.stall, now.Sub(last))
			}
			last = now
			sum.Write(buffer[:n])
			d.bytes += int64(n)
			if after != nil {
				after(d.bytes)
			}
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		d.err = fmt.Errorf("curl %s: %w: %s", url, err, complaint.String())
	}
	d.hash = hex.EncodeToString(sum.Sum(nil))
	return d
}

// wantFile downloads a URL and checks its content.
func wantFile(t testing.TB, at place, url, hash string) download {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	d := fetch(ctx, at, url, nil)
	if d.err != nil {
		t.Fatal(d.err)
	}
	if d.hash != hash {
		t.Fatalf("%s: %d bytes with SHA-256 %s, want %s", url, d.bytes, d.hash, hash)
	}
	return d
}

// ffmpeg returns the command line of a viewer that prints one line per decoded
// frame, and ends after that many; 0 means never.
func ffmpeg(url, transport string, frames int) []string {
	args := []string{"ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", transport, "-fflags", "nobuffer", "-analyzeduration", "300000",
		"-i", url, "-map", "0:v", "-fps_mode", "passthrough"}
	if frames > 0 {
		args = append(args, "-frames:v", strconv.Itoa(frames))
	}
	return append(args, "-flush_packets", "1", "-f", "framecrc", "-")
}

// isFrame reports whether a line of ffmpeg's framecrc stands for a frame.
func isFrame(line string) bool { return line != "" && !strings.HasPrefix(line, "#") }

// gstreamer returns the command line of a viewer that prints 256 bytes per
// decoded frame and ends after that many.
func gstreamer(url, transport string, frames int) []string {
	return strings.Fields(fmt.Sprintf("gst-launch-1.0"+
		" -q rtspsrc location=%s protocols=%s latency=0 ! application/x-rtp,media=video ! rtph264depay ! avdec_h264"+
		" ! videoconvert ! videoscale ! video/x-raw,format=GRAY8,width=16,height=16"+
		" ! identity eos-after=%d ! fdsink fd=1 sync=false", url, transport, frames+1))
}

// decode plays a URL with ffmpeg, or else GStreamer, until that many frames are
// decoded.
func decode(ctx context.Context, at place, program, url, transport string, frames int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := gstreamer(url, transport, frames)
	if program == "ffmpeg" {
		args = ffmpeg(url, transport, frames)
	}
	cmd := at.Command(ctx, args[0], args[1:]...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	got := len(out) / 256
	if program == "ffmpeg" {
		got = 0
		for line := range strings.Lines(string(out)) {
			if isFrame(strings.TrimSpace(line)) {
				got++
			}
		}
	}
	if got < frames { // what the player says of its goodbye is not asked: the camera may have hung up
		return fmt.Errorf("%s over %s decoded %d frames of %d from %s: %v: %s", program, transport, got, frames, url, err, complaint.String())
	}
	return nil
}

// wantFrames plays a URL with both viewers at once until each has decoded that
// many frames.
func wantFrames(t testing.TB, at place, url, transport string, frames int) {
	t.Helper()
	var viewers sync.WaitGroup
	defer viewers.Wait()
	for _, program := range []string{"ffmpeg", "gst-launch-1.0"} {
		viewers.Go(func() {
			if err := decode(t.Context(), at, program, url, transport, frames); err != nil {
				t.Error(err)
			}
		})
	}
}

// startViewer starts an ffmpeg that plays until it is killed. Each line of its
// output that isFrame is a decoded frame.
func startViewer(t testing.TB, at place, url, transport string) *process {
	t.Helper()
	args := ffmpeg(url, transport, 0)
	return start(t, at, args[0], args[1:]...)
}

// watch starts a viewer and returns when it has decoded its first frame.
func watch(t testing.TB, at place, url, transport string) *process {
	t.Helper()
	v := startViewer(t, at, url, transport)
	v.waitFrames(1)
	return v
}

// waitFrames waits until the viewer has decoded that many more frames.
func (p *process) waitFrames(more int) {
	p.t.Helper()
	before, _ := p.out.count(isFrame)
	seen := 0
	if _, ok := p.out.find(patience, func(line string) bool {
		if isFrame(line) {
			seen++
		}
		return seen >= before+more
	}); !ok {
		p.t.Fatalf("%s: no %d more frames within %v", p.name, more, patience)
	}
}
