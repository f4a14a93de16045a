//go:build linux

package natlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is a machine of the lab: a network namespace with one address.
type Host struct {
	lab       *Lab
	namespace string
	addr      netip.Addr
}

// Addr returns the address of the host in its own network.
func (h *Host) Addr() netip.Addr { return h.addr }

// Namespace returns the name under which ip(8) knows the host.
func (h *Host) Namespace() string { return h.namespace }

// Command returns a command that runs a program on the host. The process that
// the caller starts is the program itself. It is killed when ctx is done, and
// at the latest when the lab ends or this process dies.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace, name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second // for grandchildren that hold the output open
	return cmd
}

// Flap takes the host's device down for a while and up again, as when a cable is pulled:
// its default route goes with it, and comes back as from a network manager.
func (h *Host) Flap(away time.Duration) {
	h.lab.t.Helper()
	out, err := exec.Command("ip", "-n", h.namespace, "route", "show", "default").Output()
	if err != nil {
		h.lab.t.Fatalf("natlab: route of %s: %v", h.namespace, err)
	}
	h.lab.ip(h.namespace, "link set eth0 down")
	time.Sleep(away)
	h.lab.ip(h.namespace, "link set eth0 up", "route replace "+strings.TrimSpace(string(out)))
}

// Do calls f on a thread that is inside the namespace. Sockets that f opens stay
// there. It holds only for what f does itself: goroutines that it starts, also
// those inside package net's Dial with a host name, are elsewhere.
func (h *Host) Do(f func() error) error { return inside(h.namespace, f) }

// inside calls f on a thread inside a namespace and returns after it.
func inside(namespace string, f func() error) (err error) {
	var thread sync.WaitGroup
	defer thread.Wait()
	thread.Go(func() { err = enter(namespace, f) })
	return
}

func enter(namespace string, f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("natlab: open own namespace: %w", err)
	}
	defer unix.Close(home)
	there, err := unix.Open(filepath.Join(namespaces, namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("natlab: open %s: %w", namespace, err)
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("natlab: enter %s: %w", namespace, err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: it ends with this goroutine.
		return errors.Join(err, fmt.Errorf("natlab: leave %s: %w", namespace, back))
	}
	runtime.UnlockOSThread()
	return err
}
