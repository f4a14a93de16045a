package integration_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// need skips the test unless all programs are there.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if program == "camera" {
			if _, err := python(); err != nil {
				t.Skip(err)
			}
			continue
		}
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is missing: `make tools` says what to install", program)
		}
	}
}

// python returns a Python that has GStreamer's RTSP server.
var python = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		script := "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
		if exec.Command(name, "-c", script).Run() == nil {
			return name, nil
		}
	}
	return "", errors.New("no Python with GStreamer's RTSP server: install python3-gi and gir1.2-gst-rtsp-server-1.0")
})

// A camera is an RTSP server that is not of our making.
type camera struct {
	*process
	url string
}

// startCamera starts a camera that listens on the address. Options are those of
// testdata/camera.py.
func startCamera(t testing.TB, at place, address string, options ...string) *camera {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Skip(err)
	}
	args := append([]string{"testdata/camera.py", "--address", address}, options...)
	c := &camera{process: start(t, at, interpreter, args...)}
	c.url = c.says("ready")
	return c
}

// waitSessions waits until that many sessions are open, all connections told.
func (c *camera) waitSessions(within time.Duration, n int) {
	c.t.Helper()
	want := fmt.Sprintf("sessions %d ", n)
	eventually(c.t, within, fmt.Sprintf("the camera has %d sessions", n), func() (string, bool) {
		got := c.out.last("sessions ")
		return got, strings.HasPrefix(got, want)
	})
}

const (
	largeSize  = 100 << 20
	mediumSize = 5 << 20
)

// largeFile is 100 MB of noise in the folder that web servers serve.
var largeFile = sync.OnceValues(func() (hash string, err error) {
	dir, err := webRoot()
	if err != nil {
		return "", err
	}
	file, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(file, sum), rand.Reader, largeSize); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
})

// webRoot is the folder that web servers serve.
var webRoot = sync.OnceValues(func() (string, error) {
	dir, err := shared()
	if err != nil {
		return "", err
	}
	root := filepath.Join(dir, "web")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", err
	}
	return root, errors.Join(
		os.WriteFile(filepath.Join(root, "small"), []byte("hello from nginx\n"), 0o644),
		os.WriteFile(filepath.Join(root, "medium"), make([]byte, mediumSize), 0o644))
})

const nginxConfig = `
daemon off;
master_process off;
worker_rlimit_nofile 4096;
pid %[1]s/pid;
error_log stderr notice;
events { worker_connections 2048; }
http {
	access_log off;
	sendfile on;
	default_type application/octet-stream;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		root %[3]s;
	}
}
`

// startWeb starts nginx with the file /large on the address and returns its URL
// and the SHA-256 of the file.
func startWeb(t testing.TB, at place, address string) (url, hash string) {
	t.Helper()
	need(t, "nginx")
	hash, err := largeFile()
	if err != nil {
		t.Fatal(err)
	}
	root, err := webRoot()
	if err != nil {
		t.Fatal(err)
	}
	// The folder above must let nginx in, whatever the umask is.
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), net.JoinHostPort(address, "8080")
	if address == "127.0.0.1" {
		listen = freeAddress(t)
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, listen, root), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, at, "nginx", "-c", config, "-e", "stderr", "-p", dir)
	ready := func(line string) bool {
		return strings.Contains(line, "built by") || strings.Contains(line, "using the \"epoll\"")
	}
	if _, ok := p.err.find(patience, ready); !ok {
		t.Fatal("nginx does not start")
	}
	return "http://" + listen, hash
}

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
