package integration_test

import (
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
}
