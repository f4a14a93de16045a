package loop

import (
	"testing"
	"time"
)

func TestClip(t *testing.T) {
	c, err := parse(embedded)
	if err != nil {
		t.Fatal(err)
	}
	if c.length != 8*time.Second {
		t.Errorf("the clip lasts %v, want 8 s", c.length)
	}
	if len(embedded) > 400<<10 {
		t.Errorf("the clip has %d bytes, want at most 400 KiB", len(embedded))
	}
	var last time.Duration
	for n := range 3 * len(c.units) {
		_, at := c.unit(n)
		if at < last {
			t.Fatalf("unit %d is due at %v, after one at %v", n, at, last)
		}
		last = at
	}
}

// Due times are rounded to nanoseconds; the timestamps made of them must not be.
func TestTimestampsAreExact(t *testing.T) {
	c, err := parse(embedded)
	if err != nil {
		t.Fatal(err)
	}
	s := [2]sender{video: {rate: videoRate, start: 1<<32 - 5000}, audio: {rate: int64(c.audio.SampleRate), start: 7}}
	want := [2]uint32{s[video].start, s[audio].start}
	step := [2]uint32{3600, 1024}
	for n := range 1000 * len(c.units) { // over two hours: the video clock wraps
		u, at := c.unit(n)
		if got := s[u.track].timestamp(at); got != want[u.track] {
			t.Fatalf("unit %d of track %d has timestamp %d, want %d", n, u.track, got, want[u.track])
		}
		want[u.track] += step[u.track]
	}
}

func TestParseRejectsWhatHasASeam(t *testing.T) {
	for _, ts := range [][]byte{nil, embedded[:188*100], make([]byte, 1880)} {
		if c, err := parse(ts); err == nil {
			t.Errorf("parse of %d bytes = a clip of %v, want an error", len(ts), c.length)
		}
	}
}
