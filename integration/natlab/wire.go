//go:build linux

package natlab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameSize = 2048  // the largest frame is 1514 bytes
	inFlight  = 16384 // frames on the way in one direction: 1 Gbit/s for 200 ms
)

// A Wire joins two network devices and delays, loses and limits the frames
// between them.
type Wire struct {
	mu         sync.Mutex
	directions [2]shaper

	ends [2]*os.File // TAP devices
	stop context.CancelFunc
	wait sync.WaitGroup
}

type frame struct {
	data    []byte
	arrives time.Time
}

// Set changes what the wire does to frames that enter it from now on.
func (w *Wire) Set(link Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.directions {
		w.directions[i].link = link
	}
}

// wire connects a namespace to the public network, as plug does, over a Wire.
func (l *Lab) wire(namespace, device string, addr netip.Addr, link Link) *Wire {
	l.t.Helper()
	w := &Wire{}
	w.Set(link)
	port := "to-" + lastPart(namespace)
	for i, end := range []struct{ namespace, device string }{{l.core, port}, {namespace, device}} {
		tap, err := openTAP(end.namespace, end.device)
		if err != nil {
			w.closeEnds()
			l.t.Fatalf("natlab: make %s in %s: %v", end.device, end.namespace, err)
		}
		w.ends[i] = tap
	}
	w.start()
	l.wires = append(l.wires, w)
	l.ip(l.core, "link set "+port+" master "+bridge+" up")
	l.ip(namespace,
		"addr add "+addr.String()+"/24 dev "+device,
		"link set "+device+" up")
	return w
}

// start begins to carry frames. The lab calls close.
func (w *Wire) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	for i := range w.directions {
		frames := make(chan frame, inFlight)
		w.wait.Go(func() {
			defer close(frames)
			w.read(i, frames)
		})
		w.wait.Go(func() { w.write(ctx, w.ends[1-i], frames) })
	}
}

// read takes frames in at one end until it is closed.
func (w *Wire) read(end int, frames chan<- frame) {
	buffer := make([]byte, frameSize)
	for {
		n, err := w.ends[end].Read(buffer)
		if err != nil {
			return
		}
		arrives, ok := w.admit(end, n)
		if !ok {
			continue
		}
		select {
		case frames <- frame{append([]byte(nil), buffer[:n]...), arrives}:
		default: // lost: more is under way than any test can want
		}
	}
}

func (w *Wire) admit(end, size int) (arrives time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.directions[end].admit(time.Now(), size, rand.Float64())
}

// write lets frames out at the other end, each in its time and in order.
func (w *Wire) write(ctx context.Context, end *os.File, frames <-chan frame) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for f := range frames {
		if early := time.Until(f.arrives); early > 0 {
			timer.Reset(early)
			select {
			case <-timer.C:
			case <-ctx.Done():
				continue // until the reader has closed frames
			}
		}
		_, _ = end.Write(f.data) // a device that is down loses frames
	}
}

// close ends the wire and returns when nothing of it is left.
func (w *Wire) close() {
	w.stop()
	w.closeEnds()
	w.wait.Wait()
}

func (w *Wire) closeEnds() {
	for _, end := range w.ends {
		if end != nil {
			end.Close()
		}
	}
}

// openTAP makes a TAP device inside a namespace. It is gone when the file is
// closed.
func openTAP(namespace, device string) (tap *os.File, err error) {
	err = inside(namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(device)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make a TAP device: %w", err)
		}
		tap = os.NewFile(uintptr(fd), device)
		return nil
	})
	return tap, err
}
