package integration_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that should happen soon. It is no
// measure of speed: a busy machine may be slow.
const patience = 30 * time.Second

// A place is where a program runs: this machine, or a host of a lab.
type place interface {
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// here is this machine.
type here struct{}

func (here) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// A transcript is what a program has printed so far, line by line.
type transcript struct {
	mu      sync.Mutex
	lines   []string
	times   []time.Time // when each line came
	ended   bool
	changed chan struct{} // closed at the next change
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{})} }

// follow adds the lines of r until it ends.
func (p *transcript) follow(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.change(func() {
			p.lines = append(p.lines, scanner.Text())
			p.times = append(p.times, time.Now())
		})
	}
	_, _ = io.Copy(io.Discard, r) // a line too long
}

func (p *transcript) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// find waits until want accepts a line and returns it. It reports false when
// the program has ended, or the time is up, without such a line.
func (p *transcript) find(within time.Duration, want func(line string) bool) (string, bool) {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		lines, ended, changed := p.lines[seen:], p.ended, p.changed
		p.mu.Unlock()
		for _, line := range lines {
			if want(line) {
				return line, true
			}
		}
		seen += len(lines)
		if ended {
			return "", false
		}
		select {
		case <-changed:
		case <-timeout.C:
			return "", false
		}
	}
}

// all returns the lines so far.
func (p *transcript) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// last returns the last line with that prefix, or nothing.
func (p *transcript) last(prefix string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range slices.Backward(p.lines) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// count returns how many lines want accepts, and the longest time that passed
// between two of them.
func (p *transcript) count(want func(line string) bool) (n int, longest time.Duration) {
	return p.countSince(time.Time{}, want)
}

// countSince is count for the lines that came after since.
func (p *transcript) countSince(since time.Time, want func(line string) bool) (n int, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last time.Time
	for i, line := range p.lines {
		if !want(line) || p.times[i].Before(since) {
			continue
		}
		if n++; n > 1 {
			longest = max(longest, p.times[i].Sub(last))
		}
		last = p.times[i]
	}
	return n, longest
}

func (p *transcript) tail(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[max(0, len(p.lines)-n):], "\n\t")
}

// A process is a program that runs during a test. It is killed when the test
// ends, which prints the end of what it said if the test has failed.
type process struct {
	t        testing.TB
	name     string
	cmd      *exec.Cmd
	out, err *transcript
	done     chan struct{}
	failure  error // how it ended, once done is closed
}

// start starts a program. Its standard input stays open until it is killed.
func start(t testing.TB, at place, name string, args ...string) *process {
	t.Helper()
	ctx, kill := context.WithCancel(context.Background())
	p := &process{t: t, name: name[strings.LastIndexByte(name, '/')+1:], cmd: at.Command(ctx, name, args...),
		out: newTranscript(), err: newTranscript(), done: make(chan struct{})}
	if strings.HasPrefix(p.name, "peerway") && len(args) > 0 {
		p.name += " " + args[0]
	}
	stdin, inErr := p.cmd.StdinPipe()
	stdout, outErr := p.cmd.StdoutPipe()
	stderr, errErr := p.cmd.StderrPipe()
	if err := errors.Join(inErr, outErr, errErr); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var output sync.WaitGroup
	output.Go(func() { p.out.follow(stdout) })
	output.Go(func() { p.err.follow(stderr) })
	go func() {
		defer close(p.done)
		output.Wait()
		p.failure = p.cmd.Wait()
		p.out.change(func() { p.out.ended = true })
		p.err.change(func() { p.err.ended = true })
	}()
	t.Cleanup(func() {
		kill()
		<-p.done
		stdin.Close()
		if _, raced := p.err.find(0, func(line string) bool { return strings.Contains(line, "DATA RACE") }); raced {
			t.Errorf("%s: a data race:\n\t%s", p.name, p.err.tail(1000))
		}
		if t.Failed() {
			t.Logf("%s (process %d) on stderr:\n\t%s\n\ton stdout:\n\t%s", p.name, p.pid(), p.err.tail(40), p.out.tail(10))
		}
	})
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// says waits until the program prints a line that begins with the word and
// returns the rest of it.
func (p *process) says(word string) string {
	p.t.Helper()
	line, ok := p.out.find(patience, func(line string) bool {
		return line == word || strings.HasPrefix(line, word+" ")
	})
	if !ok {
		p.t.Fatalf("%s did not print %q within %v", p.name, word, patience)
	}
	return strings.TrimPrefix(strings.TrimPrefix(line, word), " ")
}

// kill ends the program without giving it a chance to clean up.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill %s: %v", p.name, err)
	}
	p.ends()
}

// signal sends a signal and returns the exit code, and after how long.
func (p *process) signal(s os.Signal) (code int, took time.Duration) {
	p.t.Helper()
	sent := time.Now()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: send %v: %v", p.name, s, err)
	}
	return p.ends(), time.Since(sent)
}

// ends waits for the end of the program and returns its exit code.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Errorf("%s still runs after %v", p.name, patience)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually looks again and again until ok, and fails when the time is up.
// For what other processes do there is no event to wait for.
func eventually(t testing.TB, within time.Duration, what string, look func() (got string, ok bool)) {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(within); ; <-again.C {
		got, ok := look()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v; now: %s", what, within, got)
		}
	}
}
