package pathsock

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	receiveBatch = 8       // datagrams per system call, each of up to 64 KiB with GRO
	datagramSize = 1 << 16 // more than any datagram
)

// batchReceiver reads many datagrams with one recvmmsg(2), each of which may be
// many packets that the kernel has joined (UDP_GRO, udp(7)).
type batchReceiver struct {
	raw   syscall.RawConn
	wait  func() bool
	read  func(fd uintptr) bool // try, bound once
	n     int
	errno syscall.Errno

	headers   [receiveBatch]messageHeader
	vectors   [receiveBatch]unix.Iovec
	names     [receiveBatch][unix.SizeofSockaddrInet6]byte
	controls  [receiveBatch][controlSpace]byte
	buffers   []byte
	datagrams [receiveBatch]datagram
}

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
}

func newReceiver(s *Socket) receiver {
	err := s.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
			s.log.Debug("kernel joins no received packets", "err", err)
		}
	})
	if err != nil { // the socket is closed, and the first read will say so
		s.log.Debug("kernel joins no received packets", "err", err)
	}
	r := &batchReceiver{raw: s.raw, buffers: make([]byte, receiveBatch*datagramSize)}
	r.read = r.try
	for i := range r.headers {
		r.vectors[i].Base = &r.buffers[i*datagramSize]
		r.vectors[i].SetLen(datagramSize)
		h := &r.headers[i]
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name = &r.names[i][0]
		h.Control = &r.controls[i][0]
	}
	return r
}

func (r *batchReceiver) receive(wait func() bool) ([]datagram, error) {
	r.wait, r.n, r.errno = wait, 0, 0
	if err := r.raw.Read(r.read); err != nil {
		return nil, err
	}
	if r.errno != 0 {
		return nil, os.NewSyscallError("recvmmsg", r.errno)
	}
	for i := range r.n {
		r.datagrams[i] = r.datagram(i)
	}
	return r.datagrams[:r.n], nil
}

// try asks the kernel once. It reports false if the poller shall call it again
// when something has arrived.
func (r *batchReceiver) try(fd uintptr) (done bool) {
	for i := range r.headers {
		h := &r.headers[i]
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSpace)
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
			receiveBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return !r.wait()
		}
		r.errno = errno
		return true
	}
}

// datagram returns what the kernel wrote into slot i.
func (r *batchReceiver) datagram(i int) datagram {
	h := &r.headers[i]
	c := parseControl(r.controls[i][:min(int(h.Controllen), controlSpace)])
	start := i * datagramSize
	return datagram{
		data:    r.buffers[start : start+min(int(h.length), datagramSize)],
		from:    parseName(r.names[i][:min(int(h.Namelen), unix.SizeofSockaddrInet6)]),
		segment: c.segment,
		ecn:     c.ecn,
	}
}

// parseName reads a struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)). It
// returns the zero address for anything else.
func parseName(b []byte) netip.AddrPort {
	if len(b) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	case unix.AF_INET6:
		if len(b) < unix.SizeofSockaddrInet6 {
			break
		}
		ip := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		if ip.IsLinkLocalUnicast() && ip.Is6() { // means nothing without its interface
			ip = ip.WithZone(strconv.Itoa(int(binary.NativeEndian.Uint32(b[24:]))))
		}
		return netip.AddrPortFrom(ip, port)
	}
	return netip.AddrPort{}
}
