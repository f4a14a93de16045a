package tunnel

import (
	"reflect"
	"testing"

	"peerway/tunnel/punch"
)

// FuzzDecodeMessage checks that whatever is accepted survives a round trip.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range []message{
		{Kind: offer, Session: 1, Instance: 2, Punch: &punch.Description{Ufrag: "abcd", Pwd: "0123456789012345678901"}},
		{Kind: hello, Instance: 1 << 63},
		{Kind: candidates, Attempt: 3, Candidates: []string{"1 1 udp 2130706431 192.168.1.2 5000 typ host"}},
	} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		b, err = m.encode()
		if err != nil {
			t.Fatalf("encode %+v: %v", m, err)
		}
		again, err := decodeMessage(b)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%+v -> %+v, %v", m, again, err)
		}
	})
}
