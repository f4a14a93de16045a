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

// A Host is a machine of the lab: a network namespace with one address of each
// protocol that it has.
type Host struct {
	lab         *Lab
	namespace   string
	addr, addr6 netip.Addr // not valid: it has none
	site        *Site      // that it is in; nil: the public network
	number      int        // in its site
}

// Addr returns the address of the host in its own network: of IPv4, if it has that.
func (h *Host) Addr() netip.Addr {
	if h.addr.IsValid() {
		return h.addr
	}
	return h.addr6
}

// Addr6 returns the IPv6 address of the host, or the zero Addr.
func (h *Host) Addr6() netip.Addr { return h.addr6 }

// lines6 returns the lines of ip(8) that give a host behind a box its address of IPv6.
func (h *Host) lines6() []string {
	return []string{
		fmt.Sprintf("addr replace %v/%d dev eth0 nodad", h.addr6, bits6),
		fmt.Sprintf("route replace %s via %s dev eth0", always, boxInside),
	}
}

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
// its default routes and its IPv6 address go with it, and come back as from a network
// manager.
func (h *Host) Flap(away time.Duration) {
	h.lab.t.Helper()
	out, err := exec.Command("ip", "-n", h.namespace, "route", "show", "default").Output()
	if err != nil {
		h.lab.t.Fatalf("natlab: route of %s: %v", h.namespace, err)
	}
	h.lab.ip(h.namespace, "link set eth0 down")
	time.Sleep(away)
	back := []string{"link set eth0 up"}
	if h.addr.IsValid() {
		back = append(back, "route replace "+strings.TrimSpace(string(out)))
	}
	if h.addr6.IsValid() {
		back = append(back, h.lines6()...)
	}
	h.lab.ip(h.namespace, back...)
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
