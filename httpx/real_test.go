package httpx_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nginx runs a real nginx with a file of the given size and returns its address.
func nginx(t testing.TB, size int64) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(file, io.LimitReader(&counter{}, size))
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; client_max_body_size 0; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s; server { listen %[2]s; root %[1]s; } }`, dir, addr)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", conf, "-p", dir, "-e", "stderr")
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx does not listen: %v\n%s", err, out.String())
		}
	}
}

// curl runs the real curl against the gate and returns what it prints.
func curl(t *testing.T, g *gate, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-sS", "--max-time", "60"}, args...)...)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

func TestRealServerAndClient(t *testing.T) {
	const size = 20 << 20
	g := open(t, to(nginx(t, size)))
	_, port, _ := net.SplitHostPort(g.addr)
	url := "http://web.home.localhost:" + port
	whole := make([]byte, size)
	io.ReadFull(&counter{}, whole)

	if got := curl(t, g, url+"/file"); sha256.Sum256(got) != sha256.Sum256(whole) {
		t.Errorf("the file came with %d bytes and another hash", len(got))
	}
	if got := curl(t, g, "-r", "1000000-1000999", url+"/file"); !bytes.Equal(got, whole[1000000:1001000]) {
		t.Errorf("the range came with %d bytes", len(got))
	}
	if got := string(curl(t, g, "-I", url+"/file")); !strings.Contains(got, "200 OK") || !strings.Contains(got, "nginx") {
		t.Errorf("HEAD: %s", got)
	}
	for _, args := range [][]string{{}, {"-H", "Expect: 100-continue"}, {"-H", "Transfer-Encoding: chunked"}} { // nginx refuses it
		args = append(args, "--data-binary", "@"+os.Args[0], "-o", os.DevNull, "-w", "%{http_code}", url+"/file")
		if got := string(curl(t, g, args...)); got != "405" {
			t.Errorf("POST %q: %s", args[:len(args)-7], got)
		}
	}
	if got := string(curl(t, g, "-i", "http://wbe.home.localhost:"+port)); !strings.Contains(got, "404 Not Found") || !strings.Contains(got, "did you mean home/web?") {
		t.Errorf("a mistyped name: %s", got)
	}
	if got := string(curl(t, g, "-H", "Host: web.home.localhost", "-o", os.DevNull, "-w", "%{http_code}", "http://"+g.addr+"/file")); got != "200" {
		t.Errorf("with a plain Host header: %s", got)
	}
	if got := string(curl(t, g, "-o", os.DevNull, "-w", "%{http_code}", "http://"+g.addr+"/")); got != "200" {
		t.Errorf("the index: %s", got)
	}
}

func BenchmarkDownload(b *testing.B) {
	const size = 100 << 20
	addr := nginx(b, size)
	g := open(b, to(addr))
	_, port, _ := net.SplitHostPort(g.addr)
	for name, url := range map[string]string{"gateway": "http://web.home.localhost:" + port, "direct": "http://" + addr} {
		b.Run(name, func(b *testing.B) {
			client := g.client
			if name == "direct" {
				client = directClient(b)
			}
			b.ReportAllocs()
			b.SetBytes(size)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				res, err := client.Get(url + "/file")
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.CopyBuffer(discard{}, res.Body, buf); n != size || err != nil {
					b.Fatal(n, err)
				}
				res.Body.Close()
			}
		})
	}
}

// BenchmarkChunked downloads what does not say its size before it comes.
func BenchmarkChunked(b *testing.B) {
	const size = 64 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 64<<10)
		for range size / len(piece) {
			w.Write(piece)
		}
	}))
	defer server.Close()
	g := open(b, to(server.Listener.Addr().String()))
	_, port, _ := net.SplitHostPort(g.addr)
	for _, way := range []struct {
		name, url string
		client    *http.Client
	}{
		{"gateway", "http://web.home.localhost:" + port, g.client},
		{"direct", server.URL, directClient(b)},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(size)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				res, err := way.client.Get(way.url)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.CopyBuffer(discard{}, res.Body, buf); n != size || err != nil {
					b.Fatal(n, err)
				}
				res.Body.Close()
			}
		})
	}
}
