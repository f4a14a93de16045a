package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerway/integration/natlab"
)

// wanBuffer is for each socket: several times the largest product of rate and
// round trip, with its queue, as the kernel counts memory.
const wanBuffer = 64 << 20

// A wanTCP is a sender at home that sends to each that connects as much as goes.
type wanTCP struct {
	*wanScene
	control string // congestion control
	port    uint16
}

// newWANTCP starts a sender with that congestion control.
func newWANTCP(s *wanScene, control string, port uint16) *wanTCP {
	s.b.Helper()
	w := &wanTCP{wanScene: s, control: control, port: port}
	var ln net.Listener
	err := s.home.LAN.Do(func() (err error) {
		// What the kernel remembers of one connection would be the next one's fate.
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_no_metrics_save", []byte("1"), 0o644); err != nil {
			return err
		}
		config := net.ListenConfig{Control: w.option(func(fd int) error {
			return errors.Join(
				unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, control),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wanBuffer))
		})}
		config.SetMultipathTCP(false)
		ln, err = config.Listen(s.b.Context(), "tcp4", fmt.Sprintf("%v:%d", s.home.LAN.Addr(), port))
		return err
	})
	if err != nil {
		s.b.Fatal(err)
	}
	s.home.Forward(port, s.home.LAN)
	var serving sync.WaitGroup
	serving.Go(func() { w.serve(ln, &serving) })
	s.b.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return w
}

// option returns a Control of package net that sets socket options.
func (w *wanTCP) option(set func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var failure error
		err := raw.Control(func(fd uintptr) { failure = set(int(fd)) })
		return errors.Join(err, failure)
	}
}

// serve sends to each that connects until that one closes.
func (w *wanTCP) serve(ln net.Listener, serving *sync.WaitGroup) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer conn.Close()
			_ = conn.(*net.TCPConn).SetLinger(0) // what is in the buffer would disturb the next
			_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Minute))
			for block := make([]byte, 256<<10); err == nil; {
				_, err = conn.Write(block)
			}
		})
	}
}

// flow receives over a new connection.
func (w *wanTCP) flow(c wanCell, long time.Duration) (f flow) {
	w.b.Helper()
	var conn net.Conn
	err := w.away.LAN.Do(func() (err error) {
		dialer := net.Dialer{Timeout: patience, Control: w.option(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wanBuffer)
		})}
		dialer.SetMultipathTCP(false)
		ctx, cancel := context.WithTimeout(w.b.Context(), patience)
		defer cancel()
		conn, err = dialer.DialContext(ctx, "tcp4", fmt.Sprintf("%v:%d", w.home.Public(), w.port))
		return err
	})
	if err != nil {
		w.b.Error(err)
		return f
	}
	var received atomic.Int64
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0)
	reading.Go(func() {
		_, _ = io.CopyBuffer(countTo{&received}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
	})
	return w.span(c, long, &received)
}

// countTo counts what is written to it.
type countTo struct{ n *atomic.Int64 }

func (c countTo) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func TestWANPlan(t *testing.T) {
	for text, cells := range map[string]int{
		"": 0, "live": 0, "queue=0.5 live": 0, "quick": 8, "all": 60, "rate=50": 15, "rate=50,200 rtt=50 loss=0,1 ways=bbr": 4,
		"seconds=2": 60, "quick seconds=2": 8,
	} {
		plan, err := planWAN(text)
		if err != nil || len(plan.cells) != cells {
			t.Errorf("%q: %d cells, want %d; %v", text, len(plan.cells), cells, err)
		}
	}
	for _, text := range []string{"fast", "rate", "rate=x", "ways", "rate=0", "rtt=0", "loss=-1", "quick rate=1"} {
		if plan, err := planWAN(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, plan)
		}
	}
	link := wanCell{rate: 20, rtt: 50 * time.Millisecond, loss: 1}.link(0)
	if want := (natlab.Link{Delay: 25 * time.Millisecond, Rate: 20e6, Loss: 0.01, Queue: 125000}); link != want {
		t.Errorf("got %+v, want %+v", link, want)
	}
}
