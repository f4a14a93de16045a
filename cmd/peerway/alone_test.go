package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A gateway whose signal server is away opens with what it remembers. What viewers get
// says that the peer was found neither way, and, if that is so, that the server there now
// is another one.
func TestGatewayAlone(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.laptop.stop(syscall.SIGTERM, exitOK)
	s.home.stop(syscall.SIGTERM, exitOK)
	s.signal.stop(syscall.SIGTERM, exitOK)

	s.connect() // which waits for "ready"
	s.webURL = s.laptop.says("service web home")
	out, err := exec.Command("peerway", "ls", "--state", s.state("laptop")).CombinedOutput()
	if want := "web      home  remembered  " + s.webURL + "\n"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("ls prints %q, %v; want %q", out, err, want)
	}
	const neither = `no connection to the signal server, which introduces the two, and "home" was not found in the local network`
	if code, body := fetch(t, s.webURL); code != http.StatusGatewayTimeout || !strings.Contains(body, neither) {
		t.Errorf("%d %q, want %q", code, body, neither)
	}
	if answer := refusal(t, s.webURL); !strings.HasPrefix(answer, "RTSP/1.0 404 ") || !strings.Contains(answer, "no-path; ") || !strings.Contains(answer, neither) {
		t.Errorf("a player gets %q, want %q", answer, neither)
	}

	known, err := url.Parse(s.signalURL)
	if err != nil {
		t.Fatal(err)
	}
	impostor := start(t, "signal", "--state", s.state("impostor"), "--listen", known.Host)
	impostor.says("ready")
	s.laptop.complains("its key is not the one that the URL or code names")
	const another = "the signal server has another key than the one that this gateway knows"
	for deadline := time.Now().Add(patience); ; {
		code, body := fetch(t, s.webURL)
		if code == http.StatusGatewayTimeout && strings.Contains(body, another) && strings.Contains(body, "pair again with a fresh code") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d %q, want %q", code, body, another)
		}
	}
	if r := status(t, s.state("laptop")); !strings.Contains(r.Signal.Why, "its key is not the one") {
		t.Errorf("status of the gateway: %+v", r)
	}
	out, _ = exec.Command("peerway", "doctor", "--state", s.state("laptop")).Output() // its exit code says that something is wrong
	if !strings.Contains(string(out), "server-other-key") || !strings.Contains(string(out), "another key than the one that is known here") {
		t.Errorf("doctor says:\n%s", out)
	}
	s.laptop.stop(syscall.SIGTERM, exitOK)
	s.connect() // not even at the start does it end for that
	impostor.stop(syscall.SIGTERM, exitOK)

	// All is well when they are back, and who looks need not wait for it.
	s.laptop.stop(syscall.SIGTERM, exitOK)
	s.connect()
	home := start(t, "expose", "--state", s.state("home"), "web=http://127.0.0.1:1")
	home.complains("paired peers in the local network can use the services")
	home.stop(syscall.SIGTERM, exitOK)
	s.startSignal(known.Host)
	out, _ = exec.Command("peerway", "doctor", "--state", s.state("laptop")).Output()
	if !strings.Contains(string(out), "✔ it is logged in to the signal server") {
		t.Errorf("doctor says:\n%s", out)
	}
	s.laptop.complains("logged in to the signal server")
	if n := strings.Count(s.laptop.out.String(), "ready"); n != 1 {
		t.Errorf("ready %d times", n)
	}
}

// refusal asks the gateway for a stream as a player does, and returns its answer. Either
// listener takes RTSP.
func refusal(t *testing.T, webURL string) string {
	t.Helper()
	u, err := url.Parse(webURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+u.Port())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "DESCRIBE rtsp://127.0.0.1/home/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n")
	var answer strings.Builder
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != ""; {
		answer.WriteString(lines.Text() + "\n")
	}
	return answer.String()
}
