package rtsp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// A decoder gives back the units that packets carry.
type decoder interface {
	Decode(*rtp.Packet) ([][]byte, error)
}

func unit(first []byte, size int) []byte {
	u := append([]byte{}, first...)
	for i := range size - len(first) {
		u = append(u, byte(i*7+i>>8))
	}
	return u
}

func aggregate(first []byte, units ...[]byte) []byte {
	out := append([]byte{}, first...)
	for _, u := range units {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(u))), u...)
	}
	return out
}

func TestSplitterMakesPacketsFit(t *testing.T) {
	h264, h265 := &format.H264{PayloadTyp: 96, PacketizationMode: 1}, &format.H265{PayloadTyp: 96}
	d264, err := h264.CreateDecoder()
	if err != nil {
		t.Fatal(err)
	}
	d265, err := h265.CreateDecoder()
	if err != nil {
		t.Fatal(err)
	}
	large264, small264 := unit([]byte{0x65}, 10000), unit([]byte{0x67}, 20)
	large265, small265 := unit([]byte{19 << 1, 1}, 10000), unit([]byte{33 << 1, 1}, 20)
	for name, c := range map[string]struct {
		format   format.Format
		decoder  decoder
		payloads [][]byte
		want     [][]byte
	}{
		"H.264 small":     {h264, d264, [][]byte{small264}, [][]byte{small264}},
		"H.264 unit":      {h264, d264, [][]byte{large264}, [][]byte{large264}},
		"H.264 aggregate": {h264, d264, [][]byte{aggregate([]byte{0x78}, small264, large264)}, [][]byte{small264, large264}},
		"H.264 fragments": {h264, d264, [][]byte{
			append([]byte{0x7c, 0x85}, large264[1:4000]...), append([]byte{0x7c, 0x05}, large264[4000:8000]...), append([]byte{0x7c, 0x45}, large264[8000:]...),
		}, [][]byte{large264}},
		"H.265 unit":      {h265, d265, [][]byte{large265}, [][]byte{large265}},
		"H.265 aggregate": {h265, d265, [][]byte{aggregate([]byte{48 << 1, 1}, small265, large265)}, [][]byte{small265, large265}},
		"H.265 fragments": {h265, d265, [][]byte{
			append([]byte{49 << 1, 1, 0x80 | 19}, large265[2:5000]...), append([]byte{49 << 1, 1, 0x40 | 19}, large265[5000:]...),
		}, [][]byte{large265}},
	} {
		t.Run(name, func(t *testing.T) {
			var s splitter
			var got [][]byte
			next := uint16(65530) // wraps
			for i, payload := range c.payloads {
				p := &rtp.Packet{Header: rtp.Header{
					Version: 2, PayloadType: 96, SequenceNumber: 65530 + uint16(i), Timestamp: 5, Marker: i == len(c.payloads)-1,
				}, Payload: payload}
				for _, out := range s.fit(c.format, p) {
					if out.MarshalSize() > maxPacket || out.SequenceNumber != next || out.Timestamp != 5 {
						t.Fatalf("%d bytes, number %d, want %d", out.MarshalSize(), out.SequenceNumber, next)
					}
					next++
					if units, err := c.decoder.Decode(out); err == nil {
						got = append(got, units...)
					}
				}
			}
			if !slices.EqualFunc(got, c.want, bytes.Equal) {
				t.Errorf("%d units come out, not the %d that went in", len(got), len(c.want))
			}
		})
	}
}

func TestSplitterLeavesOutWhatItCannotCut(t *testing.T) {
	var s splitter
	packet := func(number uint16, size int) *rtp.Packet {
		return &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: number}, Payload: make([]byte, size)}
	}
	g711 := &format.G711{}
	s.fit(g711, packet(1, 10))
	if got := s.fit(g711, packet(2, 5000)); got != nil {
		t.Errorf("got %v", got)
	}
	if got := s.fit(g711, packet(3, 10)); len(got) != 1 || got[0].SequenceNumber != 3 {
		t.Errorf("got %v, want number 3", got)
	}
}

// FuzzSplitter checks that whatever comes out fits and is numbered without gaps.
func FuzzSplitter(f *testing.F) {
	f.Add(unit([]byte{0x65}, 3000), false, uint16(0))
	f.Add(unit([]byte{0x65}, 3000), false, uint16(1450))
	f.Add(aggregate([]byte{48 << 1, 1}, unit([]byte{2, 1}, 3000)), true, uint16(8))
	f.Fuzz(func(t *testing.T, payload []byte, h265 bool, extension uint16) {
		var of format.Format = &format.H264{}
		if h265 {
			of = &format.H265{}
		}
		whole := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: payload}
		if extension > 0 {
			whole.Extension, whole.ExtensionProfile = true, 1
			whole.SetExtension(0, make([]byte, extension&^3))
		}
		var s splitter
		for i, p := range s.fit(of, whole) {
			if p.MarshalSize() > maxPacket || p.SequenceNumber != uint16(i) {
				t.Fatalf("packet %d has number %d and %d bytes", i, p.SequenceNumber, p.MarshalSize())
			}
		}
	})
}
