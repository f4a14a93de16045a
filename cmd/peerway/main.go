package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	ossignal "os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// endWithin is how long a process may take to end after it was asked to: less
// than the three seconds that are promised.
const endWithin = 2800 * time.Millisecond

// collectAt is by how many percent the heap may grow before garbage is collected:
// half of what is usual. What is large in it are buffers without a pointer, over
// which the collector has nothing to do.
const collectAt = 50

func main() { os.Exit(run()) }

// run runs the program until it ends or is told to, and returns its exit code.
func run() int {
	interrupted, stop := ossignal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	terminating := []os.Signal{syscall.SIGTERM}
	if !ossignal.Ignored(syscall.SIGHUP) { // as nohup has it
		terminating = append(terminating, syscall.SIGHUP)
	}
	ctx, stop := ossignal.NotifyContext(interrupted, terminating...)
	defer stop()
	context.AfterFunc(ctx, func() {
		ossignal.Reset(append(terminating, os.Interrupt)...) // a second signal kills
		time.AfterFunc(endWithin, func() {
			fmt.Fprintln(os.Stderr, "peerway: something did not end in time; ending anyway")
			os.Exit(exitOther)
		})
	})
	// A role goes on when who read its lines has left, as in `peerway expose … | head -1`.
	ossignal.Ignore(syscall.SIGPIPE)
	defer govern(ctx)()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	err := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case nobodyReads(err):
		return exitOther // so nothing is said
	case err != nil && !(ctx.Err() != nil && errors.Is(err, context.Cause(ctx))):
		fmt.Fprintln(os.Stderr, "peerway:", err)
		return exitCode(err)
	case interrupted.Err() != nil:
		return exitInterrupted
	}
	return exitOK // also after SIGTERM: a service manager asked, and all went well
}

// nobodyReads reports whether err is that the reader of the output has left, as in
// `peerway status | head -1`. That of a connection is another matter.
func nobodyReads(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(e, syscall.EPIPE)
}

// execute is the program without the process: all that it touches is an
// argument, or named by one.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	p := &program{out: &lines{w: stdout}, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}
