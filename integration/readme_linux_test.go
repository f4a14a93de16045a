package integration_test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"peerway/integration/natlab"
)

// A fence is one block of code in the README.
type fence struct {
	language string
	lines    []string
}

// readme returns the blocks of the README, long lines joined.
func readme(t *testing.T) (fences []fence) {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), "\\\n", " ")
	for _, m := range regexp.MustCompile("(?s)\n```([a-z]*)\n(.*?)\n```\n").FindAllStringSubmatch(text, -1) {
		fences = append(fences, fence{m[1], strings.Split(m[2], "\n")})
	}
	return fences
}

// TestReadme runs the commands of the README, in its order: three machines, two
// of them behind address translators, with the README's addresses replaced by
// those of the machines here. What the README prints must be what is printed.
func TestReadme(t *testing.T) {
	need(t, "camera", "ffmpeg", "nginx", "curl")
	lab := natlab.New(t)
	s := &session{t: t, lab: lab, away: lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})}
	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
	s.home = home.LAN
	servers := home.Host()
	camera := startCamera(t, servers, servers.Addr().String(), "--password", "admin:secret")
	web, _ := startWeb(t, servers, servers.Addr().String())
	s.here = map[string]string{
		"203.0.113.10":             lab.Signal.Addr().String(),
		"192.168.1.20:554/stream1": strings.TrimPrefix(camera.url, "rtsp://"),
		"http://192.168.1.1:80":    web,
	}
	commands := 0
	for _, f := range readme(t) {
		for _, line := range f.lines {
			switch f.language {
			case "sh":
				s.run(line)
				commands++
			case "":
				s.printed(line)
			}
		}
	}
	if commands < 11 || s.gateway == nil {
		t.Errorf("the README has %d commands", commands)
	}
	for _, r := range []*role{s.gateway, s.peer, s.server} {
		r.stop(syscall.SIGINT)
	}
}

// A session is what has been run of the README so far.
type session struct {
	t    *testing.T
	lab  *natlab.Lab
	away *natlab.Site
	home *natlab.Host
	here map[string]string // what stands here for what the README has

	server, peer, gateway, last *role
}

// translate puts what is here for what the README has.
func (s *session) translate(line string) string {
	for _, secret := range []string{"peerway://203.0.113.10:7443/…", "203.0.113.10:7443/…"} { // the longer first
		if real, ok := s.here[secret]; ok {
			line = strings.ReplaceAll(line, secret, real)
		}
	}
	for printed, real := range s.here {
		line = strings.ReplaceAll(line, printed, real)
	}
	return line
}

// run runs one command.
func (s *session) run(line string) {
	s.t.Helper()
	line, _, _ = strings.Cut(line, " #")
	words := strings.Fields(s.translate(line))
	if len(words) < 2 {
		s.t.Fatalf("%q is no command", line)
	}
	state := s.t.TempDir()
	switch words[0] + " " + words[1] {
	case "make demo", "make test": // TestDemo runs the one, and this is the other
		makefile, err := os.ReadFile("../Makefile")
		if err != nil || !strings.Contains(string(makefile), "\n"+words[1]+":") {
			s.t.Errorf("%s: %v, or there is no such target", line, err)
		}
	case "peerway signal":
		s.server = startRole(s.t, s.lab.Signal, state, words[1], words[2:]...)
		s.here["peerway://203.0.113.10:7443/…"] = s.server.says("ready")
		s.last = s.server
	case "peerway expose":
		s.peer = startRole(s.t, s.home, state, words[1], words[2:]...)
		s.here["203.0.113.10:7443/…"] = s.peer.says("pair")
		s.last = s.peer
	case "peerway connect":
		s.gateway = startRole(s.t, s.away.LAN, state, words[1], words[2:]...)
		s.here["laptop"] = s.gateway.says("ready") // is called like the machine
		s.last = s.gateway
	case "peerway doctor", "peerway ping", "peerway netcheck", "peerway ls":
		if out, code := s.gateway.asks(s.away.LAN, words[1:]...); code != 0 || out == "" {
			s.t.Errorf("%s: exit code %d and %q", line, code, out)
		}
	default:
		s.use(words)
	}
}

// use runs the command of a viewer.
func (s *session) use(words []string) {
	s.t.Helper()
	switch words[0] {
	case "ffplay": // ffmpeg in its place: there is no screen
		wantFrames(s.t, s.away.LAN, words[1], "tcp", 20)
	case "curl":
		// The web server here has no first page; that it answers is enough.
		args := append(words[1:], "--silent", "--noproxy", "*", "--include")
		out, err := s.away.LAN.Command(s.t.Context(), words[0], args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Server: nginx") {
			s.t.Errorf("%v: %v, answered\n%s", words, err, out)
		}
	default:
		s.t.Errorf("the README has a command that this test does not run: %v", words)
	}
}

// printed wants the line from the role that was started last.
func (s *session) printed(line string) {
	s.t.Helper()
	if s.last == nil || !strings.Contains("ready pair service", strings.Fields(line + " ?")[0]) {
		return // the picture
	}
	want := s.translate(line)
	if _, ok := s.last.out.find(patience, func(got string) bool { return got == want }); !ok {
		s.t.Errorf("%s did not print %q but\n%s", s.last.name, want, s.last.out.tail(10))
	}
}
