package natlab

import "encoding/binary"

// What a TAP device with IFF_VNET_HDR reads and writes begins with a
// virtio_net_hdr of 10 bytes in the order of the machine. With segmentation
// switched on, one read returns up to 64 KiB: headers, and the payload of many
// frames, which the kernel calls a GSO packet. A wire cuts it into frames that
// live and die one by one, and joins again in one write those that follow one
// another and are due at the same time, as a network card does (GRO).
const (
	virtioSize  = 10
	etherSize   = 14
	largestRead = virtioSize + etherSize + 1<<16
	headersMost = etherSize + 60 + 60 // with all options of IPv4 and TCP

	needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoNone       = 0 // VIRTIO_NET_HDR_GSO_*
	gsoTCP4       = 1
	gsoUDP        = 5

	tcp = 6
	udp = 17

	cwr    = 0x80 // flags of TCP that only the first or the last segment has
	finPsh = 0x09
)

// A load is the content of one frame: a part of a read.
type load struct {
	chunk  *chunk
	at     int // where the read begins in its chunk
	length int // of the read
	cut        // of all frames of the read
	index  int // of this frame in the read
}

// A cut says how a read falls into frames. Unless it does, all is zero.
type cut struct {
	headers int // bytes from the Ethernet header to the payload, 0 if there is one frame as it is
	segment int // bytes of payload in each frame but the last
	frames  int
}

// cutting returns how to cut a read. One that this package cannot cut is not ok.
func cutting(read []byte) (c cut, ok bool) {
	if len(read) < virtioSize+etherSize {
		return cut{}, false
	}
	kind := read[1]
	if kind == gsoNone {
		return cut{frames: 1}, true
	}
	frame := read[virtioSize:]
	transport := int(binary.NativeEndian.Uint16(read[6:]))
	protocol, ok := protocolOf(frame, transport)
	if read[0]&needsChecksum == 0 || !ok || transport+20 > len(frame) && kind == gsoTCP4 || transport+8 > len(frame) {
		return cut{}, false
	}
	c.segment = int(binary.NativeEndian.Uint16(read[4:]))
	switch {
	case kind == gsoTCP4 && protocol == tcp:
		c.headers = transport + int(frame[transport+12]>>4)<<2
	case kind == gsoUDP && protocol == udp:
		c.headers = transport + 8
	default:
		return cut{}, false
	}
	payload := len(frame) - c.headers
	if c.segment == 0 || payload <= 0 || c.headers > headersMost {
		return cut{}, false
	}
	c.frames = (payload + c.segment - 1) / c.segment
	return c, true
}

// protocolOf returns what an IP packet carries whose transport header begins there. IPv6
// with more headers is not ok.
func protocolOf(frame []byte, transport int) (protocol byte, ok bool) {
	if len(frame) < etherSize+20 || transport < etherSize+20 {
		return 0, false
	}
	switch kind, version := binary.BigEndian.Uint16(frame[12:]), frame[etherSize]>>4; {
	case kind == 0x0800 && version == 4:
		return frame[etherSize+9], true
	case kind == 0x86dd && version == 6 && transport == etherSize+40:
		return frame[etherSize+6], true
	}
	return 0, false
}

// size returns how many bytes the frame has on the wire.
func (l *load) size() int {
	if l.headers == 0 {
		return l.length - virtioSize
	}
	return l.headers + len(l.payload(1))
}

// payload returns the payload of the load and the count-1 after it.
func (l *load) payload(count int) []byte {
	begin := virtioSize + l.headers + l.index*l.segment
	end := min(begin+count*l.segment, l.length)
	return l.chunk.data[l.at+begin : l.at+end]
}

// precedes reports whether next continues the load, so that both may be
// written as one.
func (l *load) precedes(next *load) bool {
	return l.headers > 0 && next.chunk == l.chunk && next.at == l.at && next.index == l.index+1
}

// join returns what to write for the load and the count-1 after it, in two
// parts. The first is in buffer, which must have room for headers.
func (l *load) join(count int, buffer []byte) (headers, payload []byte) {
	whole := l.chunk.data[l.at : l.at+l.length]
	if l.headers == 0 || l.index == 0 && count == l.frames {
		return whole, nil
	}
	payload = l.payload(count)
	headers = buffer[:copy(buffer, whole[:virtioSize+l.headers])]
	if len(payload) <= l.segment {
		headers[1] = gsoNone
		binary.NativeEndian.PutUint16(headers[4:], 0)
	}
	binary.NativeEndian.PutUint16(headers[2:], uint16(l.headers))
	transport := int(binary.NativeEndian.Uint16(headers[6:]))
	ip := headers[virtioSize+etherSize : virtioSize+transport]
	segment := headers[virtioSize+transport:]
	protocol, pair := l.address(ip, len(segment)+len(payload))

	check := 16
	if protocol == udp {
		check = 6
		binary.BigEndian.PutUint16(segment[4:], uint16(8+len(payload)))
	} else {
		number := binary.BigEndian.Uint32(segment[4:]) + uint32(l.index*l.segment)
		binary.BigEndian.PutUint32(segment[4:], number)
		if l.index > 0 {
			segment[13] &^= cwr
		}
		if l.index+count < l.frames {
			segment[13] &^= finPsh
		}
	}
	// The kernel goes on from the sum of the pseudo header.
	pseudo := uint32(protocol) + uint32(len(segment)+len(payload))
	binary.BigEndian.PutUint16(segment[check:], sum(pseudo, pair))
	return headers, payload
}

// address makes the IP header right for what follows it, and returns what that is and
// the two addresses.
func (l *load) address(ip []byte, length int) (protocol byte, pair []byte) {
	if ip[0]>>4 == 6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		return ip[6], ip[8:40]
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(l.index))
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))
	return ip[9], ip[12:20]
}

// sum adds 16-bit words to a sum in one's complement.
func sum(sum uint32, words []byte) uint16 {
	for ; len(words) >= 2; words = words[2:] {
		sum += uint32(binary.BigEndian.Uint16(words))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

const (
	chunkSize  = 512 << 10
	mostChunks = 256 // 128 MiB on the way in one direction: more than 1 Gbit/s for a second
)

// A chunk is memory for many reads, in use as long as one of their frames is on
// the way.
type chunk struct {
	data  []byte
	used  int
	loads int // on the way
}

// A pool owns the chunks of one direction. It grows to what was on the way at
// most.
type pool struct {
	current *chunk
	free    []*chunk
	made    int
	spare   []byte // for what there is no room for
}

// room returns memory for the largest read. It is not ok, and good for nothing
// but to be read into, if too much is on the way.
func (p *pool) room() (memory []byte, ok bool) {
	c := p.current
	switch {
	case c != nil && chunkSize-c.used >= largestRead:
	case len(p.free) > 0:
		p.current = p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
	case p.made < mostChunks:
		p.made++
		p.current = &chunk{data: make([]byte, chunkSize)}
	case p.spare == nil:
		p.spare = make([]byte, largestRead)
		fallthrough
	default:
		return p.spare, false
	}
	return p.current.data[p.current.used : p.current.used+largestRead], true
}

// take keeps the first bytes of what room returned.
func (p *pool) take(bytes int, how cut) load {
	l := load{chunk: p.current, at: p.current.used, length: bytes, cut: how}
	p.current.used += bytes
	p.current.loads += how.frames
	return l
}

// release gives back the memory of loads.
func (p *pool) release(c *chunk, loads int) {
	c.loads -= loads
	if c.loads > 0 {
		return
	}
	c.used = 0
	if c != p.current {
		p.free = append(p.free, c)
	}
}
