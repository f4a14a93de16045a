package pathsock

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"peerway/signal/datagram"
)

// newJoiner returns a joiner whose kernel is busy: nothing is taken.
func newJoiner() *joiner {
	j := &joiner{running: true, sending: true}
	j.changed.L = &j.mu
	return j
}

func TestJoinerFits(t *testing.T) {
	batch := make([]byte, 14*1452)
	for name, test := range map[string]struct {
		before, next []byte
		b, n         datagram.Control
		want         bool
	}{
		"nothing before":          {nil, batch, datagram.Control{}, datagram.Control{Segment: 1452}, true},
		"the same":                {batch, batch, datagram.Control{Segment: 1452}, datagram.Control{Segment: 1452}, true},
		"a shorter packet":        {batch, batch[:100], datagram.Control{Segment: 1452}, datagram.Control{}, true},
		"a full packet":           {batch, batch[:1452], datagram.Control{Segment: 1452}, datagram.Control{}, true},
		"a longer packet":         {batch, batch[:1453], datagram.Control{Segment: 1452}, datagram.Control{}, false},
		"another size":            {batch, batch, datagram.Control{Segment: 1452}, datagram.Control{Segment: 1232}, false},
		"behind a shorter one":    {batch[:1453], batch, datagram.Control{Segment: 1452}, datagram.Control{Segment: 1452}, false},
		"another ECN":             {batch, batch, datagram.Control{Segment: 1452}, datagram.Control{Segment: 1452, ECN: 1}, false},
		"too many bytes":          {make([]byte, 40*1452), batch, datagram.Control{Segment: 1452}, datagram.Control{Segment: 1452}, false},
		"too many packets":        {make([]byte, 60*100), make([]byte, 5*100), datagram.Control{Segment: 100}, datagram.Control{Segment: 100}, false},
		"as many as there may be": {make([]byte, 60*100), make([]byte, 4*100), datagram.Control{Segment: 100}, datagram.Control{Segment: 100}, true},
	} {
		j := newJoiner()
		if test.before != nil && !j.put(test.before, test.b) {
			t.Fatalf("%s: the first is not taken", name)
		}
		if got := j.fits(test.next, test.n); got != test.want {
			t.Errorf("%s: fits = %v, want %v", name, got, test.want)
		}
	}
}

// TestJoinerKeepsOrder writes batches and single packets while another goroutine
// takes them, and wants every byte once, in order.
func TestJoinerKeepsOrder(t *testing.T) {
	j := newJoiner()
	ctx, cancel := context.WithCancel(t.Context())
	var got []byte
	var taking sync.WaitGroup
	taking.Go(func() {
		for {
			b, c, ok := j.take(ctx)
			if !ok {
				return
			}
			if len(b) > datagram.MaxBatch || c.Segment > 0 && len(b) > datagram.MaxSegments*c.Segment {
				t.Errorf("%d bytes in segments of %d", len(b), c.Segment)
			}
			got = append(got, b...)
		}
	})
	var want []byte
	for i := range 2000 {
		c := datagram.Control{Segment: 100 + i%3}
		b := bytes.Repeat([]byte{byte(i)}, c.Segment*(1+i%14)-i%7)
		if i%5 == 0 {
			b, c = b[:1+i%100], datagram.Control{}
		}
		if len(b) <= c.Segment {
			c.Segment = 0
		}
		want = append(want, b...)
		for !j.put(b, c) { // idle: whoever writes sends; here that is the other goroutine
			j.mu.Lock()
			j.sending = true
			j.mu.Unlock()
		}
	}
	cancel()
	j.mu.Lock()
	j.changed.Broadcast()
	j.mu.Unlock()
	taking.Wait()
	if !bytes.Equal(got, want) {
		t.Errorf("took %d bytes, want the %d that were put, in order", len(got), len(want))
	}
	if j.put([]byte{1}, datagram.Control{}) {
		t.Error("taken when nobody runs")
	}
}
