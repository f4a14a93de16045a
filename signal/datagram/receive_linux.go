package datagram

import (
	"encoding/binary"
	"net"
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

// A Receiver reads many datagrams with one recvmmsg(2), each of which may be
// many packets that the kernel has joined (UDP_GRO, udp(7)).
type Receiver struct {
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
	datagrams [receiveBatch]Datagram
}

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
}

// NewReceiver returns a Receiver for conn, which it borrows. An error says that the
// kernel joins no packets, which it can do without.
func NewReceiver(conn *net.UDPConn) (*Receiver, error) {
	raw, err := conn.SyscallConn()
	if err != nil { // the connection is closed
		return nil, err
	}
	var join error
	if err := raw.Control(func(fd uintptr) { join = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) }); err != nil {
		return nil, err
	}
	r := &Receiver{raw: raw, buffers: make([]byte, receiveBatch*datagramSize)}
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
	return r, join
}

// Receive returns what has arrived, valid until the next call. It calls wait before
// it blocks and does not block if that reports false; it may then return nothing.
func (r *Receiver) Receive(wait func() bool) ([]Datagram, error) {
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
func (r *Receiver) try(fd uintptr) (done bool) {
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
func (r *Receiver) datagram(i int) Datagram {
	h := &r.headers[i]
	c, local := parseControl(r.controls[i][:min(int(h.Controllen), controlSpace)])
	start := i * datagramSize
	return Datagram{
		Data:    r.buffers[start : start+min(int(h.length), datagramSize)],
		From:    parseName(r.names[i][:min(int(h.Namelen), unix.SizeofSockaddrInet6)]),
		Local:   local,
		Segment: c.Segment,
		ECN:     c.ECN,
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
