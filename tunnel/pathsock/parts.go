package pathsock

import (
	"encoding/binary"

	"peerway/signal/datagram"
)

// A packet that may not fit a narrow path crosses it in two parts:
//
//	typePart, which of the two (0, 1), number of the packet (2 bytes), its half
//
// Parts that stay alone are forgotten: to QUIC the packet is lost.
const partHeader = 1 + 1 + 2

// maxPart bounds the payload of a part: half of the largest packet.
const maxPart = (maxPacket + 1) / 2

// writeParts sends the packets of b to a narrow path, in two parts each if they
// are large.
func (p *Peer) writeParts(b []byte, c datagram.Control, path *path) (err error) {
	segment := c.Segment
	if segment == 0 {
		segment = len(b)
	}
	for len(b) > 0 {
		n := min(len(b), segment)
		if n <= narrowSize {
			err = p.socket.send(b[:n], datagram.Control{ECN: c.ECN}, path.way)
		} else {
			err = p.writeHalves(b[:n], c.ECN, path.way)
		}
		if err != nil {
			return err
		}
		path.sent.packets.Add(1)
		b = b[n:]
	}
	return nil
}

func (p *Peer) writeHalves(packet []byte, ecn byte, to way) error {
	number := uint16(p.numbered.Add(1))
	half := (len(packet) + 1) / 2
	var space [partHeader + maxPart]byte
	for i, payload := range [2][]byte{packet[:half], packet[half:]} {
		part := append(space[:0], typePart, byte(i))
		part = binary.BigEndian.AppendUint16(part, number)
		part = append(part, payload...)
		if err := p.socket.send(part, datagram.Control{ECN: ecn}, to); err != nil {
			return err
		}
	}
	return nil
}

// partSlots is how many packets may be incomplete at a time.
const partSlots = 32

// parts joins what writeParts has cut. It belongs to the goroutine that reads
// the socket, and takes memory only once a part has come.
type parts struct {
	slots *[partSlots]partSlot
	whole [2 * maxPart]byte // what join returned last
}

// A partSlot holds the part of a packet that came first.
type partSlot struct {
	held   bool
	which  byte
	number uint16
	size   int
	half   [maxPart]byte
}

// join takes a part and returns the packet if it is complete now, valid until
// the next call.
func (q *parts) join(part []byte) (whole []byte) {
	if len(part) <= partHeader || len(part) > partHeader+maxPart || part[1] > 1 {
		return nil
	}
	which, number, payload := part[1], binary.BigEndian.Uint16(part[2:]), part[partHeader:]
	if q.slots == nil {
		q.slots = new([partSlots]partSlot)
	}
	slot := &q.slots[number%partSlots]
	if !slot.held || slot.number != number || slot.which == which {
		slot.held, slot.which, slot.number = true, which, number
		slot.size = copy(slot.half[:], payload)
		return nil
	}
	slot.held = false
	first, second := payload, slot.half[:slot.size]
	if which == 1 {
		first, second = second, first
	}
	whole = append(append(q.whole[:0], first...), second...)
	if !isQUIC(whole) {
		return nil
	}
	return whole
}
