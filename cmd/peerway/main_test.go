package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"peerway/integration/leak"
	"peerway/signal"
)

// TestMain runs the tests, or, as "peerway", the program itself.
func TestMain(m *testing.M) {
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "peerway" {
		main()
	}
	bin, err := installSelf()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	leak.Main(m, func() { os.RemoveAll(bin) })
}

// installSelf puts this test binary into the PATH as "peerway", and returns the
// folder it is in.
func installSelf() (string, error) {
	dir, err := os.MkdirTemp("", "peerway-test-")
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "peerway")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	return dir, os.Symlink(self, name)
}

// TestScripts runs the scripts of testdata/script: flags, messages and exit
// codes of commands that end by themselves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "xdg-state"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "xdg-config"))
			e.Setenv("URL", signal.URL{Addr: "127.0.0.1:1", Pin: signal.Pin{1}, Secret: signal.Secret{2}}.String())
			_, code, _ := strings.Cut(signal.NewCode("127.0.0.1:1", signal.Pin{1}).String(), "/")
			e.Setenv("CODE", code)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
	})
}

// exits is a command of the scripts: exits CODE PROGRAM ARGUMENTS…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENTS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// patience bounds each wait of a test for another process.
const patience = 30 * time.Second

// A process is a peerway that runs beside the test.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *output
	done     chan struct{} // closed when it has ended
}

// start starts peerway. The test kills it at the end, if it still runs.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("peerway", args...), out: newOutput(), err: newOutput(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait()
		p.out.close()
		p.err.close()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("peerway %s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), p.out, p.err)
		}
	})
	return p
}

// says waits for a line on standard output that starts with the words and
// returns the rest of it.
func (p *process) says(words string) string { p.t.Helper(); return p.nth(words, 1) }

// nth is says for the n-th such line.
func (p *process) nth(words string, n int) string {
	p.t.Helper()
	line, ok := p.out.find(func(line string) bool { return line == words || strings.HasPrefix(line, words+" ") }, n)
	if !ok {
		p.t.Fatalf("peerway did not print %q", words)
	}
	return strings.TrimPrefix(strings.TrimPrefix(line, words), " ")
}

// complains waits for a line on standard error that contains the text.
func (p *process) complains(text string) {
	p.t.Helper()
	if _, ok := p.err.find(func(line string) bool { return strings.Contains(line, text) }, 1); !ok {
		p.t.Fatalf("peerway did not say %q", text)
	}
}

// ends waits for the end and returns the exit code.
func (p *process) ends() int {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.t.Fatal("peerway does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop sends a signal and checks the end: its code and that it comes in time.
func (p *process) stop(s syscall.Signal, want int) {
	p.t.Helper()
	asked := time.Now()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	if got := p.ends(); got != want {
		p.t.Errorf("exit code %d after %v, want %d", got, s, want)
	}
	if took := time.Since(asked); took > 3*time.Second {
		p.t.Errorf("it took %v to end", took)
	}
}

// An output collects what a process prints and lets a test wait for a line.
type output struct {
	mu     sync.Mutex
	text   bytes.Buffer
	closed bool
	more   chan struct{} // closed and replaced when there is more
}

func newOutput() *output { return &output{more: make(chan struct{})} }

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.more)
	o.more = make(chan struct{})
	return len(p), nil
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	close(o.more)
	o.more = make(chan struct{})
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the whole lines so far.
func (o *output) lines() []string {
	text := o.String()
	var list []string
	s := bufio.NewScanner(strings.NewReader(text[:strings.LastIndexByte(text, '\n')+1]))
	for s.Scan() {
		list = append(list, s.Text())
	}
	return list
}

// find waits for the n-th line that fits.
func (o *output) find(fits func(string) bool, n int) (string, bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		o.mu.Lock()
		more, closed := o.more, o.closed
		o.mu.Unlock()
		found := slices.DeleteFunc(o.lines(), func(line string) bool { return !fits(line) })
		if len(found) >= n {
			return found[n-1], true
		}
		if closed {
			return "", false
		}
		select {
		case <-more:
		case <-timer.C:
			return "", false
		}
	}
}
