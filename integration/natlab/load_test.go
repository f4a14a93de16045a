package natlab

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// gso returns what a TAP device would hand over for so many bytes of payload in
// segments of 100.
func gso(protocol byte, payload int) []byte {
	transport, kind, check := etherSize+20, byte(gsoUDP), 6
	header := 8
	if protocol == tcp {
		kind, check, header = gsoTCP4, 16, 32
	}
	frame := make([]byte, transport+header+payload)
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip, segment := frame[etherSize:transport], frame[transport:]
	ip[0], ip[8], ip[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(len(frame)-etherSize))
	binary.BigEndian.PutUint16(ip[4:], 7)
	copy(ip[12:], []byte{192, 168, 1, 2, 203, 0, 113, 10})
	if protocol == tcp {
		binary.BigEndian.PutUint32(segment[4:], 0xffffff80) // turns over in the second segment
		segment[12], segment[13] = 8<<4, cwr|finPsh|0x10
	} else {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
	}
	for i := range payload {
		segment[header+i] = byte(i % 251)
	}
	virtio := make([]byte, virtioSize)
	virtio[0], virtio[1] = needsChecksum, kind
	binary.NativeEndian.PutUint16(virtio[2:], uint16(len(frame))) // the kernel says any number
	binary.NativeEndian.PutUint16(virtio[4:], 100)
	binary.NativeEndian.PutUint16(virtio[6:], uint16(transport))
	binary.NativeEndian.PutUint16(virtio[8:], uint16(check))
	return append(virtio, frame...)
}

// loads cuts a read into the loads of its frames.
func loads(t *testing.T, p *pool, read []byte) []load {
	t.Helper()
	how, ok := cutting(read)
	if !ok {
		t.Fatal("not cut")
	}
	room, ok := p.room()
	if !ok {
		t.Fatal("no room")
	}
	l := p.take(copy(room, read), how)
	all := slices.Repeat([]load{l}, how.frames)
	for i := range all {
		all[i].index = i
	}
	return all
}

func TestCut(t *testing.T) {
	for name, protocol := range map[string]byte{"tcp": tcp, "udp": udp} {
		t.Run(name, func(t *testing.T) {
			whole := gso(protocol, 950)
			headers := len(whole) - virtioSize - 950
			all := loads(t, &pool{}, whole)
			if len(all) != 10 || all[0].size() != headers+100 || all[9].size() != headers+50 {
				t.Fatalf("%d frames, the first of %d bytes, the last of %d", len(all), all[0].size(), all[9].size())
			}
			for i := range all[1:] {
				if !all[i].precedes(&all[i+1]) || all[i].precedes(&all[i]) || all[i+1].precedes(&all[i]) {
					t.Errorf("frame %d does not precede just the next", i)
				}
			}
			if got, rest := all[0].join(10, nil); !bytes.Equal(got, whole) || rest != nil {
				t.Error("all frames joined are not what was read")
			}
			for _, test := range []struct{ first, count, payload int }{
				{0, 1, 100}, {0, 9, 900}, {1, 1, 100}, {3, 4, 400}, {9, 1, 50}, {8, 2, 150}, {1, 9, 850},
			} {
				head, payload := all[test.first].join(test.count, make([]byte, 200))
				if want := whole[virtioSize+headers+test.first*100:][:test.payload]; !bytes.Equal(payload, want) {
					t.Errorf("%+v has another payload", test)
				}
				wantHeaders(t, head, protocol, test.first, test.count, test.payload)
			}
		})
	}
}

// wantHeaders looks at the headers of frames cut out of what gso returns.
func wantHeaders(t *testing.T, head []byte, protocol byte, first, count, payload int) {
	t.Helper()
	if many := head[1] != gsoNone; many != (payload > 100) {
		t.Errorf("%d bytes are segmented: %v", payload, many)
	}
	if got := int(binary.NativeEndian.Uint16(head[2:])); got != len(head)-virtioSize {
		t.Errorf("the headers are said to be of %d bytes, want %d", got, len(head)-virtioSize)
	}
	ip, segment := head[virtioSize+etherSize:][:20], head[virtioSize+etherSize+20:]
	if got, want := int(binary.BigEndian.Uint16(ip[2:])), 20+len(segment)+payload; got != want {
		t.Errorf("an IP packet of %d bytes, want %d", got, want)
	}
	if got := int(binary.BigEndian.Uint16(ip[4:])); got != 7+first {
		t.Errorf("identification %d, want %d", got, 7+first)
	}
	if sum(0, ip) != 0xffff {
		t.Error("the check sum of the IP header is wrong")
	}
	pseudo := uint32(192<<8|168) + uint32(1<<8|2) + uint32(203<<8) + uint32(113<<8|10) + uint32(protocol) + uint32(len(segment)+payload)
	pseudo = pseudo>>16 + pseudo&0xffff
	if protocol == udp {
		if got := int(binary.BigEndian.Uint16(segment[4:])); got != 8+payload {
			t.Errorf("a UDP packet of %d bytes, want %d", got, 8+payload)
		}
		if got := binary.BigEndian.Uint16(segment[6:]); uint32(got) != pseudo {
			t.Errorf("a sum of the pseudo header of %#x, want %#x", got, pseudo)
		}
		return
	}
	if got := binary.BigEndian.Uint16(segment[16:]); uint32(got) != pseudo {
		t.Errorf("a sum of the pseudo header of %#x, want %#x", got, pseudo)
	}
	number := uint32(0xffffff80)
	if got, want := binary.BigEndian.Uint32(segment[4:]), number+uint32(first*100); got != want {
		t.Errorf("sequence number %#x, want %#x", got, want)
	}
	flags := byte(0x10)
	if first == 0 {
		flags |= cwr
	}
	if first+count == 10 {
		flags |= finPsh
	}
	if segment[13] != flags {
		t.Errorf("flags %#x, want %#x", segment[13], flags)
	}
}

// TestUncut is about reads that are one frame, and those that nobody knows.
func TestUncut(t *testing.T) {
	single := make([]byte, virtioSize+60)
	all := loads(t, &pool{}, single)
	if got, rest := all[0].join(1, nil); len(all) != 1 || all[0].size() != 60 || !bytes.Equal(got, single) || rest != nil {
		t.Errorf("%d frames, the first of %d bytes", len(all), all[0].size())
	}
	if all[0].precedes(&all[0]) {
		t.Error("a single frame has a next one")
	}
	for name, change := range map[string]func(read []byte){
		"neither IP":   func(read []byte) { read[virtioSize+12] = 0x86 },
		"no check sum": func(read []byte) { read[0] = 0 },
		"unknown kind": func(read []byte) { read[1] = 4 },
		"no segment":   func(read []byte) { read[4], read[5] = 0, 0 },
		"far away":     func(read []byte) { read[6], read[7] = 0xff, 0xff },
	} {
		read := gso(udp, 950)
		change(read)
		if _, ok := cutting(read); ok {
			t.Errorf("%s is cut", name)
		}
	}
	if _, ok := cutting(single[:virtioSize+5]); ok {
		t.Error("half an Ethernet header is cut")
	}
}

// TestPool fills a pool and uses it again.
func TestPool(t *testing.T) {
	var p pool
	full := make([]byte, largestRead)
	var kept []load
	for {
		room, ok := p.room()
		if len(room) != largestRead {
			t.Fatalf("room for %d bytes, want %d", len(room), largestRead)
		}
		if !ok {
			break
		}
		kept = append(kept, p.take(copy(room, full), cut{frames: 2}))
		if len(kept) > 1<<20 {
			t.Fatal("a pool without end")
		}
	}
	for _, l := range kept {
		p.release(l.chunk, 1)
	}
	if _, ok := p.room(); ok {
		t.Error("there is room while the second halves are on the way")
	}
	for _, l := range kept {
		p.release(l.chunk, 1)
	}
	again := testing.AllocsPerRun(100, func() {
		for range 50 {
			if _, ok := p.room(); !ok {
				t.Fatal("there is no room although nothing is on the way")
			}
			l := p.take(1000, cut{frames: 1})
			p.release(l.chunk, 1)
		}
	})
	if again > 0 {
		t.Errorf("a used pool allocates %v times", again)
	}
}
