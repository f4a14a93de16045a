//go:build linux

package natlab_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerway/integration/natlab"
)

// A course is a wire with numbered packets from the public network to a site.
type course struct {
	*natlab.Wire
	site     *natlab.Site
	within   time.Duration // how long to wait for a packet
	t        *testing.T
	from, to *socket
	mapped   netip.AddrPort
	sent     int
}

const coursePacket = 1240 // bytes of payload; 42 more on the wire, or 62 in IPv6

func newCourse(t *testing.T, link *natlab.Link) *course {
	return newCourseIn(t, natlab.IPv4, link)
}

// newCourseIn is newCourse for a protocol.
func newCourseIn(t *testing.T, stack natlab.Stack, link *natlab.Link) *course {
	lab := natlab.New(t)
	quiet := func() error { // nothing is to be counted but what the test sends
		return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
	}
	from := listen6
	if stack == natlab.IPv4 {
		from = listen
		if err := lab.Signal.Do(quiet); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Stack: stack, Link: link})
	c := &course{t: t, site: site, Wire: site.Wire(), within: arrives, from: from(t, lab.Signal, 1000), to: listen(t, site.LAN, 0)}
	c.mapped = c.to.mapped(c.from)
	c.from.send("found", c.mapped) // the neighbours know one another from now on
	if !c.to.receive("found", arrives).IsValid() {
		t.Fatal("no packet comes down")
	}
	return c
}

// send sends so many packets in one piece, which the kernel does not cut.
func (c *course) send(packets int) {
	c.t.Helper()
	data := make([]byte, packets*coursePacket)
	for i := range packets {
		binary.BigEndian.PutUint32(data[i*coursePacket:], uint32(c.sent+i))
	}
	c.sent += packets
	control := make([]byte, unix.CmsgSpace(2))
	header := control[:unix.SizeofCmsghdr]
	binary.NativeEndian.PutUint64(header, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(header[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(header[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[unix.SizeofCmsghdr:], coursePacket)
	if _, _, err := c.from.WriteMsgUDPAddrPort(data, control, c.mapped); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the numbers of so many packets as they come, or of fewer if no
// more come.
func (c *course) receive(packets int) (numbers []int) {
	c.t.Helper()
	buffer := make([]byte, 2*coursePacket)
	for len(numbers) < packets {
		c.to.SetReadDeadline(time.Now().Add(c.within))
		n, _, err := c.to.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return numbers
		}
		if n != coursePacket {
			c.t.Fatalf("received %d bytes, want %d", n, coursePacket)
		}
		numbers = append(numbers, int(binary.BigEndian.Uint32(buffer)))
	}
	return numbers
}

// settle returns the counters once nothing is on the way.
func (c *course) settle(entered int64) natlab.Counters {
	c.t.Helper()
	for end := time.Now().Add(arrives); ; time.Sleep(time.Millisecond) { // counting has no event
		down := c.Down()
		if all := down.Frames + down.Lost + down.Full; all >= entered && down.OnTheWay == 0 {
			return down
		}
		if time.Now().After(end) {
			c.t.Fatalf("%d frames have not entered: %+v", entered, down)
		}
	}
}

// TestWireFrames sends packets in one piece and expects a fate for each.
func TestWireFrames(t *testing.T) {
	c := newCourse(t, &natlab.Link{})
	before := c.Down()
	c.send(40)
	if got := c.receive(40); len(got) != 40 || !slices.IsSorted(got) {
		t.Errorf("received %v", got)
	}
	down := c.settle(before.Frames + 40)
	if frames, bytes := down.Frames-before.Frames, down.Bytes-before.Bytes; frames != 40 || bytes != 40*(coursePacket+42) {
		t.Errorf("counted %d frames and %d bytes", frames, bytes)
	}

	c.Set(natlab.Link{Loss: 0.5})
	before = down
	c.send(50)
	down = c.settle(before.Frames + before.Lost + 50)
	lost := int(down.Lost - before.Lost)
	if lost < 8 || lost > 42 {
		t.Errorf("%d of 50 packets lost, want about half", lost)
	}
	if got := c.receive(50 - lost); len(got) != 50-lost || !slices.IsSorted(got) {
		t.Errorf("received %v, want %d", got, 50-lost)
	}

	// One packet is being sent, five wait, no more have room.
	c.Set(natlab.Link{Rate: 2e6, Queue: 5 * (coursePacket + 42)})
	before = down
	c.send(20)
	if got, want := c.receive(6), []int{90, 91, 92, 93, 94, 95}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	down = c.settle(before.Frames + before.Lost + 20)
	if full := down.Full - before.Full; full != 14 {
		t.Errorf("%d packets found no room, want 14: %+v", full, down)
	}
	if down.Failed > 0 {
		t.Errorf("the wire lost %d frames by itself", down.Failed)
	}
}

// TestWireKeepsOrder makes a long wire short while packets are on it.
func TestWireKeepsOrder(t *testing.T) {
	c := newCourse(t, &natlab.Link{})
	c.Set(natlab.Link{Delay: 100 * time.Millisecond, Jitter: 10 * time.Millisecond})
	c.send(20)
	for c.Down().OnTheWay < 20 {
		time.Sleep(time.Millisecond) // counting has no event
	}
	c.Set(natlab.Link{})
	c.send(20)
	if got := c.receive(40); len(got) != 40 || !slices.IsSorted(got) {
		t.Errorf("received %v", got)
	}
}

func TestWireReorders(t *testing.T) {
	for _, stack := range []natlab.Stack{natlab.IPv4, natlab.IPv6} {
		t.Run(stack.String(), func(t *testing.T) {
			c := newCourseIn(t, stack, &natlab.Link{})
			c.Set(natlab.Link{Rate: 20e6, Reorder: 0.3})
			c.send(40)
			got := c.receive(40)
			if slices.IsSorted(got) {
				t.Errorf("received in order: %v", got)
			}
			slices.Sort(got)
			if len(slices.Compact(got)) != 40 {
				t.Errorf("received %d different packets, want 40", len(got))
			}
			if failed := c.Down().Failed; failed > 0 {
				t.Errorf("the wire lost %d frames by itself", failed)
			}
		})
	}
}

// TestWireDirections changes one direction and looks at both.
func TestWireDirections(t *testing.T) {
	c := newCourse(t, &natlab.Link{})
	passes := func() (up, down bool) {
		c.to.send("up", c.from.local)
		c.from.send("down", c.mapped)
		return c.from.receive("up", lost).IsValid(), c.to.receive("down", lost).IsValid()
	}
	c.SetUp(natlab.Link{Loss: 1})
	if up, down := passes(); up || !down {
		t.Errorf("with all lost upwards, packets pass up %v, down %v", up, down)
	}
	if up, down := c.Up(), c.Down(); up.Lost == 0 || down.Lost != 0 {
		t.Errorf("counted as lost up %d, down %d", up.Lost, down.Lost)
	}
	c.SetUp(natlab.Link{})
	c.SetDown(natlab.Link{Loss: 1})
	if up, down := passes(); !up || down {
		t.Errorf("with all lost downwards, packets pass up %v, down %v", up, down)
	}
	c.Set(natlab.Link{})
	if up, down := passes(); !up || !down {
		t.Errorf("with nothing lost, packets pass up %v, down %v", up, down)
	}
}

// TestWireTCP sends what the kernel hands over in large pieces through a wire
// that loses and reorders parts of them.
func TestWireTCP(t *testing.T) {
	lab := natlab.New(t)
	site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &natlab.Link{}})
	site.Wire().Set(natlab.Link{Rate: 200e6, Loss: 0.002, Reorder: 0.01, ReorderBy: time.Millisecond, Jitter: time.Millisecond})
	transfer(t, lab.Signal, site.LAN, 4<<20)
	down := site.Wire().Down()
	if least := int64(4 << 20 / 1448); down.Frames < least || down.Lost == 0 {
		t.Errorf("%d frames arrived and %d were lost, want %d and some", down.Frames, down.Lost, least)
	}
	if mean := down.Bytes / down.Frames; mean > 1514 {
		t.Errorf("frames of %d bytes", mean)
	}
	if down.Failed > 0 {
		t.Errorf("the wire lost %d frames by itself", down.Failed)
	}
}

// TestWireToWire joins two sites with wires, through the boxes of both.
func TestWireToWire(t *testing.T) {
	lab := natlab.New(t)
	config := natlab.SiteConfig{Kind: natlab.FullCone, Link: &natlab.Link{Rate: 100e6, Delay: time.Millisecond}}
	a, b := lab.Site(config), lab.Site(config)
	listener := listen(t, b.LAN, 4000)
	err := a.LAN.Do(func() error {
		conn, err := net.Dial("udp4", netip.AddrPortFrom(b.Public(), 4000).String())
		if err == nil {
			_, err = conn.Write([]byte("hello"))
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if from := listener.receive("hello", arrives); from.Addr() != a.Public() {
		t.Errorf("received from %v, want %v", from, a.Public())
	}
	if up, down := a.Wire().Up(), b.Wire().Down(); up.Wait.Count == 0 || down.Late.Count == 0 {
		t.Errorf("the wires counted %+v and %+v", up, down)
	}
}
