package integration_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestHarness lets the programs of the other tests talk to each other without
// Peerway in between: what fails here is not its fault.
func TestHarness(t *testing.T) {
	need(t, "camera", "ffmpeg", "gst-launch-1.0", "nginx", "curl")
	t.Run("camera", func(t *testing.T) {
		cam := startCamera(t, here{}, "127.0.0.1", "--audio")
		for _, transport := range []string{"tcp", "udp"} {
			wantFrames(t, here{}, cam.url, transport, 20)
		}
		v := watch(t, here{}, cam.url, "tcp")
		v.waitFrames(10)
		cam.waitSessions(patience, 1)
		v.signal(syscall.SIGINT)
		cam.waitSessions(patience, 0)
	})
	t.Run("web", func(t *testing.T) {
		url, hash := startWeb(t, here{}, "127.0.0.1")
		wantFile(t, here{}, url+"/large", hash)
	})
	t.Run("bare QUIC", func(t *testing.T) {
		if _, err := largeFile(); err != nil {
			t.Fatal(err)
		}
		root, err := webRoot()
		if err != nil {
			t.Fatal(err)
		}
		sender := startHelper(t, here{}, "quic-send", "127.0.0.1:0", filepath.Join(root, "large"))
		address := sender.says("ready")
		for range 2 {
			receiver := startHelper(t, here{}, "quic-receive", address)
			if got, want := strings.Fields(receiver.says("received"))[0], strconv.Itoa(largeSize); got != want {
				t.Errorf("received %s bytes, want %s", got, want)
			}
		}
	})
}
