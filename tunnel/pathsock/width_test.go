package pathsock

import (
	"bytes"
	"testing"
	"time"
)

func TestWidth(t *testing.T) {
	const ms = time.Millisecond
	w := newWidth()
	asked := 0
	look := func(now time.Duration, want bool) {
		t.Helper()
		wide, probe := w.look(now, confirmBytes)
		if wide != want {
			t.Errorf("at %v wide is %v, want %v", now, wide, want)
		}
		if probe != 0 {
			asked++
		}
	}
	wantAsked := func(want int) {
		t.Helper()
		if asked != want {
			t.Errorf("%d probes, want %d", asked, want)
		}
	}
	look(1000*ms, false) // a new path is narrow, and asked at once
	wantAsked(1)
	look(1020*ms, false) // not again so soon
	wantAsked(1)
	for now := 1050 * ms; now < 4000*ms; now += 10 * ms {
		look(now, false)
	}
	wantAsked(askOften) // then seldom
	look(1450*ms+askSeldom, false)
	wantAsked(askOften + 1)

	w.answered(w.nonce+1, 7000*ms)
	look(7000*ms, false) // somebody else's echo
	w.answered(w.nonce, 7000*ms)
	look(7001*ms, true)
	look(7510*ms, true)
	w.answered(w.nonce, 7510*ms) // at once

	asked = 0 // a path that stops answering is narrow again
	for now := 7520 * ms; now <= 8310*ms; now += 10 * ms {
		look(now, true)
	}
	wantAsked(7) // after half a second, then often
	look(8320*ms, false)

	w.answered(w.nonce, 8350*ms)
	look(8850*ms, true)
	w.answered(w.nonce, 9050*ms) // a round trip of 200 ms
	asked = 0
	for now := 9060 * ms; now <= 10250*ms; now += 10 * ms {
		look(now, true)
	}
	wantAsked(3) // after half a second, then each 300 ms
	look(10260*ms, false)

	w.answered(w.nonce, 10300*ms) // the same with rare packets
	look(10900*ms, true)
	w.answered(w.nonce, 10900*ms)
	look(11500*ms, true)
	look(12300*ms, false)

	w.answered(w.nonce, 13000*ms) // a slow path is asked less often
	asked = 0
	for now := 13000 * ms; now < 15000*ms; now += 100 * ms {
		w.look(now, 1444)
	}
	wantAsked(0)
	look(15000*ms, true)
	wantAsked(1)

	w.answered(w.nonce, 20000*ms) // an idle path stays what it was
	look(60*time.Minute, true)
	w.refused()
	look(60*time.Minute+ms, false)
}

func TestParts(t *testing.T) {
	var q parts
	packet := bytes.Repeat([]byte{0x40}, 1452)
	part := func(which byte, number uint16, payload []byte) []byte {
		return append([]byte{typePart, which, byte(number >> 8), byte(number)}, payload...)
	}
	first, second := part(0, 7, packet[:726]), part(1, 7, packet[726:])
	for name, order := range map[string][2][]byte{"in order": {first, second}, "reordered": {second, first}} {
		if whole := q.join(order[0]); whole != nil {
			t.Errorf("%s: one part makes %d bytes", name, len(whole))
		}
		if whole := q.join(order[1]); !bytes.Equal(whole, packet) {
			t.Errorf("%s: %d bytes, want the packet", name, len(whole))
		}
	}
	q.join(first) // its other part is lost, and the slot goes to another packet
	if whole := q.join(part(1, 7+partSlots, packet[726:])); whole != nil {
		t.Error("parts of two packets were joined")
	}
	for _, bad := range [][]byte{
		{typePart}, part(0, 1, nil), part(2, 1, packet[:10]), part(0, 1, bytes.Repeat([]byte{1}, maxPart+1)),
	} {
		if q.join(bad) != nil {
			t.Errorf("join(%d bytes) made a packet", len(bad))
		}
	}
	q.join(part(0, 9, []byte{0, 0})) // what is not QUIC when joined
	if whole := q.join(part(1, 9, []byte{0, 0})); whole != nil {
		t.Error("parts made something that is not QUIC")
	}
}

func FuzzParts(f *testing.F) {
	f.Add([]byte{typePart, 0, 0, 1, 0x40}, []byte{typePart, 1, 0, 1, 0x40})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var q parts
		q.join(a)
		if whole := q.join(b); len(whole) > len(a)+len(b) || len(whole) > maxPacket+1 {
			t.Errorf("%d and %d bytes make %d", len(a), len(b), len(whole))
		}
	})
}

// A flood of probes, whose source anybody can forge, is not answered.
func TestEchoesAreBounded(t *testing.T) {
	var e echoes
	answered := 0
	for now := int64(0); now < 10*int64(time.Second); now += int64(20 * time.Microsecond) { // 50,000 a second
		if e.allow(now + int64(time.Hour)) {
			answered++
		}
	}
	if answered < 9*echoesIn || answered > 11*echoesIn {
		t.Errorf("%d answers in 10 s, want about %d", answered, 10*echoesIn)
	}
	if now := int64(2 * time.Hour); !e.allow(now) {
		t.Error("no answer after the flood")
	}
}
