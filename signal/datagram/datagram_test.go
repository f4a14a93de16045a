package datagram_test

import (
	"testing"

	"peerway/signal/datagram"
)

func TestCut(t *testing.T) {
	for _, test := range []struct {
		size, segment int
		want          []int
	}{
		{size: 10, segment: 0, want: []int{10}},
		{size: 10, segment: 10, want: []int{10}},
		{size: 10, segment: 20, want: []int{10}},
		{size: 10, segment: -1, want: []int{10}},
		{size: 10, segment: 4, want: []int{4, 4, 2}},
		{size: 8, segment: 4, want: []int{4, 4}},
		{size: 3, segment: 1, want: []int{1, 1, 1}},
	} {
		d := datagram.Datagram{Data: make([]byte, test.size), Segment: test.segment}
		if got := (datagram.Control{Segment: d.Segment}).Count(len(d.Data)); got != len(test.want) {
			t.Errorf("%d bytes by %d: %d packets, want %d", test.size, test.segment, got, len(test.want))
		}
		for _, want := range test.want {
			if packet := d.Cut(); len(packet) != want || cap(packet) != want {
				t.Errorf("%d bytes by %d: packet of %d, want %d", test.size, test.segment, len(packet), want)
			}
		}
		if len(d.Data) != 0 {
			t.Errorf("%d bytes by %d: %d bytes are left", test.size, test.segment, len(d.Data))
		}
	}
}
