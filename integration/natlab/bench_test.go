//go:build linux

package natlab_test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"peerway/integration/natlab"
)

const (
	payload   = 1444         // of a UDP packet
	frameSize = payload + 42 // with its headers
	delay     = 10 * time.Millisecond
	batch     = 40               // packets in one GSO send
	burst     = time.Millisecond // what is sent between two sleeps
)

// BenchmarkWire sends frames at a steady rate through a wire of 1 Gbit/s, one by
// one and in batches that the kernel need not cut, and reports what the wire
// takes: processor time without the sender's, but with that of the kernel
// behind the wire, which counts as its writer's.
func BenchmarkWire(b *testing.B) {
	for _, rate := range []int64{20e6, 200e6, 950e6} {
		for _, packets := range []int{1, batch} {
			b.Run(fmt.Sprintf("mbps=%d/batch=%d", rate/1e6, packets), func(b *testing.B) {
				lab := natlab.New(b)
				link := natlab.Link{Rate: 1e9, Delay: delay, Queue: 4 << 20}
				site := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted, Link: &link})
				benchmarkWire(b, lab, site, rate, packets)
			})
		}
	}
}

func benchmarkWire(b *testing.B, lab *natlab.Lab, site *natlab.Site, rate int64, packets int) {
	var before, after runtime.MemStats
	site.Wire().Down()
	runtime.ReadMemStats(&before)
	start, used := time.Now(), cpu(b, unix.RUSAGE_SELF)
	err := lab.Signal.Do(func() error {
		own := cpu(b, unix.RUSAGE_THREAD)
		defer func() { used += cpu(b, unix.RUSAGE_THREAD) - own }()
		return flood(lab.Signal.Addr(), netip.AddrPortFrom(site.Public(), 9), rate, packets, b.N)
	})
	if err != nil {
		b.Fatal(err)
	}
	sent := time.Since(start)
	time.Sleep(2 * delay)
	used = cpu(b, unix.RUSAGE_SELF) - used
	runtime.ReadMemStats(&after)
	c := site.Wire().Down()
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/frame")
	b.ReportMetric(100*used.Seconds()/sent.Seconds(), "cpu-%")
	b.ReportMetric(float64(c.Frames)/sent.Seconds(), "frames/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "allocs/frame")
	b.ReportMetric(float64(c.Late.P99.Microseconds()), "late-p99-µs")
	b.ReportMetric(float64(c.Failed+c.Full), "lost")
}

// flood sends UDP packets at a rate, so many in one system call.
func flood(from netip.Addr, to netip.AddrPort, rate int64, packets, count int) error {
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if packets > 1 {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, payload) })
		if err != nil {
			return err
		}
	}
	data := make([]byte, packets*payload)
	nap := unix.NsecToTimespec(int64(burst))
	for begun, sent := time.Now(), 0; sent < count; {
		for due := int(time.Since(begun).Seconds() * float64(rate) / 8 / frameSize); sent < min(due, count); {
			now := min(packets, count-sent)
			if _, err := conn.Write(data[:now*payload]); err != nil {
				return err
			}
			sent += now
		}
		// A wait that the scheduler knows of would be charged to the wire.
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&nap)), 0, 0)
	}
	return nil
}

// cpu returns the processor time that the process or this thread has used.
func cpu(b *testing.B, whose int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(whose, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
