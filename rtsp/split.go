package rtsp

import (
	"encoding/binary"

	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// A splitter makes packets of one track fit for players. Cameras send packets of
// up to 64 KiB when they are asked over TCP; gortsplib passes on no more than
// what fits into a UDP packet. Tracks in H.264 and H.265 are cut into
// fragments (RFC 6184, 5.8, and RFC 7798, 4.4.3). It is pure.
type splitter struct {
	added uint16 // packets that there are more than the camera has sent
}

// fit returns the packets to send in place of p, or none if it cannot be cut.
// They may share memory with p.
func (s *splitter) fit(f format.Format, p *rtp.Packet) []*rtp.Packet {
	if p.MarshalSize() <= maxPacket {
		p.SequenceNumber += s.added
		return []*rtp.Packet{p}
	}
	room := maxPacket - p.Header.MarshalSize()
	var payloads [][]byte
	switch f.(type) {
	case *format.H264:
		payloads = splitH264(p.Payload, room)
	case *format.H265:
		payloads = splitH265(p.Payload, room)
	}
	if len(payloads) == 0 {
		return nil // the gap in the numbers tells players that something is missing
	}
	packets := make([]*rtp.Packet, len(payloads))
	for i, payload := range payloads {
		packets[i] = &rtp.Packet{Header: p.Header, Payload: payload}
		packets[i].SequenceNumber += s.added + uint16(i)
		packets[i].Marker = p.Marker && i == len(payloads)-1
		packets[i].Padding = false
	}
	s.added += uint16(len(payloads) - 1)
	return packets
}

const (
	h264Aggregate, h264Fragment = 24, 28
	h265Aggregate, h265Fragment = 48, 49

	fragmentStart, fragmentEnd = 0x80, 0x40
)

// splitH264 cuts the payload of a packet.
func splitH264(payload []byte, room int) [][]byte {
	if len(payload) < 3 {
		return nil
	}
	indicator := payload[0]&0xe0 | h264Fragment
	switch kind := payload[0] & 0x1f; kind {
	case h264Fragment:
		return fragments([]byte{indicator}, payload[1], payload[2:], room)
	case h264Aggregate:
		return unpack(payload[1:], func(unit []byte) [][]byte {
			if len(unit) <= room {
				return [][]byte{unit}
			}
			return splitH264(unit, room)
		})
	default:
		if kind == 0 || kind > h264Aggregate {
			return nil
		}
		return fragments([]byte{indicator}, fragmentStart|fragmentEnd|kind, payload[1:], room)
	}
}

// splitH265 cuts the payload of a packet.
func splitH265(payload []byte, room int) [][]byte {
	if len(payload) < 4 {
		return nil
	}
	indicator := []byte{payload[0]&0x81 | h265Fragment<<1, payload[1]}
	switch kind := payload[0] >> 1 & 0x3f; kind {
	case h265Fragment:
		return fragments(indicator, payload[2], payload[3:], room)
	case h265Aggregate:
		return unpack(payload[2:], func(unit []byte) [][]byte {
			if len(unit) <= room {
				return [][]byte{unit}
			}
			return splitH265(unit, room)
		})
	default:
		if kind > h265Aggregate {
			return nil
		}
		return fragments(indicator, fragmentStart|fragmentEnd|kind, payload[2:], room)
	}
}

// fragments cuts data into payloads that begin with an indicator and a fragment
// header. Of the header's two flags, the start goes to the first, the end to the
// last.
func fragments(indicator []byte, header byte, data []byte, room int) [][]byte {
	room -= len(indicator) + 1
	if room < 100 {
		return nil // the header alone fills the packet
	}
	var out [][]byte
	for start := true; len(data) > 0; start = false {
		piece := data[:min(room, len(data))]
		data = data[len(piece):]
		h := header
		if !start {
			h &^= fragmentStart
		}
		if len(data) > 0 {
			h &^= fragmentEnd
		}
		payload := append(make([]byte, 0, room+3), indicator...)
		out = append(out, append(append(payload, h), piece...))
	}
	return out
}

// unpack returns the payloads for the units in an aggregate, each of which has
// its length before it.
func unpack(data []byte, split func(unit []byte) [][]byte) (out [][]byte) {
	for len(data) > 2 {
		size := int(binary.BigEndian.Uint16(data))
		if data = data[2:]; size == 0 || size > len(data) {
			return nil
		}
		out = append(out, split(data[:size])...)
		data = data[size:]
	}
	return out
}
