package main

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Who made a code may have died without a word: whoever uses it is told what he waits for.
func TestCodeOfTheSilent(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	code := s.home.nth("pair", 2)
	if err := s.home.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	late := start(t, "connect", code, "--state", s.state("late"), "--http", "127.0.0.1:0", "--rtsp", "127.0.0.1:0")
	late.complains("Waiting for the peerway expose that made this code")
	if err := s.home.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	late.says("ready")
}

// Who is asked for a URL may think better of it.
func TestInterruptedWhileItAsks(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "url")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitOK} {
		asks := start(t, "expose", "tv=rtsp://joe:secret@host/x", "cam=@"+fifo)
		asks.complains("the password of tv") // so it listens to signals, and asks next
		asks.stop(signal, want)
	}
}
