//go:build linux

package natlab_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerway/integration/natlab"
)

// TestMTU sends packets that fit and that do not through a box with an MTU, in
// both directions, alone and many in one piece, and looks at who is told.
func TestMTU(t *testing.T) {
	for stack, fits := range map[natlab.Stack]int{natlab.IPv4: coursePacket + 28, natlab.IPv6: coursePacket + 48} {
		for _, test := range []struct {
			name         string
			mtu          int
			silent, told bool
		}{{"wide", fits, false, false}, {"narrow", fits - 1, false, true}, {"silent", fits - 1, true, false}} {
			for name, link := range map[string]*natlab.Link{"cable": nil, "wire": {}} {
				if stack == natlab.IPv6 && link != nil {
					continue // the box does the same
				}
				t.Run(fmt.Sprintf("%v %s %s", stack, test.name, name), func(t *testing.T) {
					c := newCourseIn(t, stack, link)
					back := &course{t: t, from: c.to, to: c.from, mapped: c.from.local}
					c.site.SetMTU(test.mtu, test.silent)
					for direction, way := range map[string]*course{"down": c, "up": back} {
						wantMTU(t, direction, way, test.mtu >= fits, test.told)
					}
				})
			}
		}
	}
}

// wantMTU sends numbered packets, forbids to cut them, and says whether they
// should pass and whether the sender should be told.
func wantMTU(t *testing.T, direction string, way *course, pass, told bool) {
	t.Helper()
	way.within = within(pass)
	raw, err := way.from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(level, name, value int) {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) })
		if err != nil {
			t.Fatal(err)
		}
	}
	// Never fragment, forget what was told.
	if way.mapped.Addr().Is4() {
		option(unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		option(unix.SOL_IP, unix.IP_RECVERR, 1)
	} else {
		option(unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		option(unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	}
	for _, packets := range []int{1, 10} {
		want := 0
		if pass {
			want = packets
		}
		way.send(packets)
		if got := way.receive(max(want, 1)); len(got) != want {
			t.Errorf("%s: %d of %d packets pass, want %d", direction, len(got), packets, want)
		}
		// What ICMP says comes as an error of the next call.
		way.from.SetReadDeadline(time.Now().Add(within(told)))
		_, _, err := way.from.ReadFromUDPAddrPort(make([]byte, 10))
		if got := errors.Is(err, syscall.EMSGSIZE); got != told {
			t.Errorf("%s: the sender of %d is told: %v (%v), want %v", direction, packets, got, err, told)
		}
	}
}

// within returns how long to wait for what should come or should not.
func within(comes bool) time.Duration {
	if comes {
		return arrives
	}
	return lost
}

// TestMTUOfTCP sends through a box that is silent about its MTU, on a connection
// from before it had one and on a new one.
func TestMTUOfTCP(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{}})
	var listener net.Listener
	var old net.Conn
	err := lab.Signal.Do(func() (err error) {
		listener, err = net.Listen("tcp4", lab.Signal.Addr().String()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = site.LAN.Do(func() (err error) {
		old, err = net.Dial("tcp4", listener.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()

	site.SetMTU(1280, true)
	for direction, ends := range map[string][2]net.Conn{"down": {accepted, old}, "up": {old, accepted}} {
		var sender sync.WaitGroup
		sender.Go(func() { _, _ = ends[0].Write(make([]byte, 1<<20)) }) // what is missing is seen below
		ends[1].SetReadDeadline(time.Now().Add(arrives))
		if n, err := io.ReadFull(ends[1], make([]byte, 1<<20)); err != nil {
			t.Errorf("%s: %d bytes arrive on the old connection: %v", direction, n, err)
			ends[0].Close()
		}
		sender.Wait()
	}
	before := site.Wire().Down()
	transfer(t, lab.Signal, site.LAN, 1<<20)
	down := site.Wire().Down()
	if frames, least := down.Frames-before.Frames, int64(1<<20/(1280-40)); frames < least {
		t.Errorf("%d frames on the new connection, want %d at least", frames, least)
	}
}
