//go:build linux

package natlab

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deviceQueue is how many reads the kernel keeps for a wire that has no time
// for a moment.
const deviceQueue = 4096

// A Wire joins the device of a site with the public network and delays, loses
// and limits the frames between them, in each direction by itself. Up is from
// the site, down is to it. Its methods may be called at any time by anybody.
type Wire struct {
	begun  time.Time
	lab    *Lab
	number uint64 // of the wire in its lab
	plugs  [2]plug
	wake   int // an eventfd, which ends a wait
	wait   sync.WaitGroup

	mu         sync.Mutex // for what follows
	directions [2]direction
	closed     bool
}

// A plug is one end of a wire.
type plug struct {
	namespace, device string
	tap               int // file descriptor, or -1
}

const (
	down = 0 // enters at the public network
	up   = 1 // enters at the site
)

// Set changes what the wire does in both directions to frames that enter it, or
// wait in its queue, from now on. What has left the queue arrives as it would
// have, and before all that follows.
func (w *Wire) Set(link Link) { w.set(link, up, down) }

// SetUp is Set for the direction from the site to the public network.
func (w *Wire) SetUp(link Link) { w.set(link, up) }

// SetDown is Set for the direction from the public network to the site.
func (w *Wire) SetDown(link Link) { w.set(link, down) }

func (w *Wire) set(link Link, directions ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range directions {
		w.directions[i].line.set(time.Since(w.begun), link)
	}
	w.interrupt()
}

// Seed throws the dice of the wire anew from a number. With the same seed, the
// n-th frame from now on in a direction meets the same fate. A wire begins with a
// seed that says which of its lab it is.
func (w *Wire) Seed(seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.directions {
		w.directions[i].line.dice = newDice(seed, uint64(i))
	}
}

// Up returns what the wire has carried from the site to the public network. It
// is asked for now: what the result says to be recent begins anew.
func (w *Wire) Up() Counters { return w.counters(up) }

// Down is Up for the direction from the public network to the site.
func (w *Wire) Down() Counters { return w.counters(down) }

func (w *Wire) counters(i int) Counters {
	overrun := w.plugs[i].overrun()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.directions[i].line.counters(time.Since(w.begun))
	c.Failed += overrun
	return c
}

// overrun returns how many frames, or pieces of many frames, the kernel has
// dropped because the wire did not read them in time.
func (p *plug) overrun() (dropped int64) {
	_ = inside(p.namespace, func() error { // fails where the lab has ended
		link, err := netlink.LinkByName(p.device)
		if err == nil {
			dropped = int64(link.Attrs().Statistics.TxDropped)
		}
		return err
	})
	return dropped
}

// wire connects a namespace to the public network, as plug does, over a Wire.
func (l *Lab) wire(namespace, device string, addr, addr6 netip.Addr, link Link) *Wire {
	l.t.Helper()
	port := "to-" + lastPart(namespace)
	w := &Wire{
		begun: time.Now(), lab: l, number: uint64(len(l.wires)), wake: -1,
		plugs: [2]plug{down: {l.core, port, -1}, up: {namespace, device, -1}},
	}
	l.wires = append(l.wires, w)
	if err := w.open(); err != nil {
		l.t.Fatal(err)
	}
	w.Seed(w.number)
	w.Set(link)
	w.start()
	for _, plug := range w.plugs {
		l.ip(plug.namespace, fmt.Sprintf("link set %s txqueuelen %d", plug.device, deviceQueue))
	}
	l.ip(l.core, "link set "+port+" master "+bridge+" up")
	l.ip(namespace, join(device, addr, addr6)...)
	return w
}

// open opens what close closes.
func (w *Wire) open() (err error) {
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("natlab: make an event: %w", err)
	}
	for i := range w.plugs {
		end := &w.plugs[i]
		if end.tap, err = openTAP(end.namespace, end.device); err != nil {
			return fmt.Errorf("natlab: make %s in %s: %w", end.device, end.namespace, err)
		}
	}
	for i := range w.directions {
		w.directions[i].from, w.directions[i].to = w.plugs[i].tap, w.plugs[1-i].tap
	}
	return nil
}

// start begins to carry frames. close ends it.
func (w *Wire) start() {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	w.wait.Go(func() {
		defer func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - 1) }()
		w.carry()
	})
}

// close ends the wire and returns when nothing of it is left. The lab calls it.
func (w *Wire) close() {
	w.mu.Lock()
	w.closed = true
	w.interrupt()
	w.mu.Unlock()
	w.wait.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fd := range []int{w.plugs[0].tap, w.plugs[1].tap, w.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	w.wake = -1
}

// interrupt ends a wait of carry. The mutex is held.
func (w *Wire) interrupt() {
	if w.wake >= 0 {
		_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full means that it is set already
	}
}

// openTAP makes a TAP device inside a namespace that hands over packets before
// the kernel has cut them, and returns its descriptor. The device is gone when
// that is closed.
func openTAP(namespace, device string) (tap int, err error) {
	err = inside(namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(device)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make a TAP device: %w", err)
		}
		tap = fd
		return nil
	})
	if err != nil {
		return -1, err
	}
	return tap, nil
}
