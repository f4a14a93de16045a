package loop_test

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"

	"peerway/integration/leak"
	"peerway/rtsp/loop"
)

func TestMain(m *testing.M) { leak.Main(m) }

// open runs a camera until the test ends.
func open(t *testing.T, cfg loop.Config) *loop.Camera {
	t.Helper()
	cam := loop.New(cfg)
	stop := errors.New("test ended")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- cam.Run(ctx) }()
	t.Cleanup(func() {
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("Run() = %v, want %v", err, stop)
		}
	})
	select {
	case <-cam.Ready():
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	return cam
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// The clip lasts 8 s: 13 s of viewing go over its seam.
func TestFFmpegSeesNoSeam(t *testing.T) {
	needs(t, "ffmpeg")
	t.Parallel()
	cam := open(t, loop.Config{User: "demo", Password: "p@ss/word"})
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "level+warning", "-xerror",
		"-rtsp_transport", "tcp", "-i", cam.URL(), "-t", "13", "-map", "0", "-stats", "-fps_mode", "passthrough",
		"-f", "null", "-").CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "[warning]") || strings.Contains(string(out), "[error]") {
		t.Errorf("ffmpeg complains:\n%s", out)
	}
	m := regexp.MustCompile(`frame= *(\d+)`).FindAllStringSubmatch(string(out), -1)
	if len(m) == 0 {
		t.Fatalf("ffmpeg counted no frames:\n%s", out)
	}
	// It starts at the first key picture after joining, up to a second in.
	if got, _ := strconv.Atoi(m[len(m)-1][1]); got < 12*25-1 || got > 13*25+2 {
		t.Errorf("ffmpeg decoded %d pictures in 13 s, want about %d", got, 13*25)
	}
}

// Timestamps of both tracks must go on over the seam with the very same step.
func TestTimestampsGoOn(t *testing.T) {
	t.Parallel()
	cam := open(t, loop.Config{})
	u, err := base.ParseURL(cam.URL())
	if err != nil {
		t.Fatal(err)
	}
	tcp := gortsplib.TransportTCP
	viewer := &gortsplib.Client{Transport: &tcp}
	if err := viewer.Start(u.Scheme, u.Host); err != nil {
		t.Fatal(err)
	}
	defer viewer.Close()
	desc, _, err := viewer.Describe(u)
	if err != nil {
		t.Fatal(err)
	}
	if err := viewer.SetupAll(desc.BaseURL, desc.Medias); err != nil {
		t.Fatal(err)
	}
	stamps := make(chan stamp, 2000)
	viewer.OnPacketRTPAny(func(m *description.Media, f format.Format, p *rtp.Packet) {
		select {
		case stamps <- stamp{m.Type, p.Timestamp}:
		default: // the test has enough
		}
	})
	if _, err := viewer.Play(nil); err != nil {
		t.Fatal(err)
	}
	checkSteps(t, stamps)
}

// A stamp is the RTP timestamp of one packet.
type stamp struct {
	media description.MediaType
	rtp   uint32
}

// checkSteps reads more than one pass of the clip from stamps.
func checkSteps(t *testing.T, stamps <-chan stamp) {
	t.Helper()
	steps := map[description.MediaType]uint32{description.MediaTypeVideo: 3600, description.MediaTypeAudio: 1024}
	last := map[description.MediaType]uint32{}
	units := map[description.MediaType]int{}
	for units[description.MediaTypeVideo] < 250 {
		s := <-stamps
		previous, known := last[s.media]
		last[s.media] = s.rtp
		if known && s.rtp == previous {
			continue // one picture, several packets
		}
		if got, want := s.rtp-previous, steps[s.media]; known && got != want {
			t.Errorf("%s: step of %d at unit %d, want %d", s.media, got, units[s.media], want)
		}
		units[s.media]++
	}
	if got := units[description.MediaTypeAudio]; got < 465 || got > 475 {
		t.Errorf("%d AAC frames in the time of 250 pictures, want about 469", got)
	}
}

func TestRefusals(t *testing.T) {
	needs(t, "ffprobe")
	t.Parallel()
	cam := open(t, loop.Config{User: "demo", Password: "secret"})
	for name, test := range map[string]struct{ url, want string }{
		"no password":    {strings.Replace(cam.URL(), "demo:secret@", "", 1), "401"},
		"wrong password": {strings.Replace(cam.URL(), "secret", "guess", 1), "401"},
		"other path":     {cam.URL() + "2", "404"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-rtsp_transport", "tcp", test.url).CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("ffprobe = %v, %q, want %s", err, out, test.want)
			}
		})
	}
}

func TestBusyAddress(t *testing.T) {
	cam := open(t, loop.Config{})
	address := regexp.MustCompile(`[\d.]+:\d+`).FindString(cam.URL())
	if err := loop.New(loop.Config{Listen: address}).Run(t.Context()); err == nil {
		t.Error("Run on a busy address = nil, want an error")
	}
}
