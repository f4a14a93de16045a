package lane

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// However the data is cut, what is written are whole frames in order; control
// frames come between them as early as that allows.
func TestOutboxCutsBetweenFrames(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	o := outbox{buffers: &sync.Pool{New: newBuffer}, work: make(chan struct{}, 1)}
	var written []byte
	wantData, wantControl := 0, 0
	for range 5000 {
		switch rng.IntN(3) {
		case 0:
			if n := rng.IntN(9000); o.waiting()+n < outLimit {
				o.append(frame{kind: kindData, id: 7, length: uint32(n)}.appendTo(nil))
				o.append(make([]byte, n))
				wantData++
			}
		case 1:
			o.urgent(nil, frame{kind: kindWindow, id: 9})
			wantControl++
		case 2:
			limit := rng.IntN(10000)
			b := o.next(limit)
			if len(b) > limit && o.within != 0 && limit > 0 {
				t.Fatalf("%d bytes of data, want at most %d", len(b), limit)
			}
			written = append(written, b...)
			if len(b) > 0 {
				o.wrote()
			}
		}
	}
	for {
		b := o.next(unlimited)
		if len(b) == 0 {
			break
		}
		written = append(written, b...)
		o.wrote()
	}
	for r := bytes.NewBuffer(written); r.Len() > 0; {
		f, err := parseFrame(r.Next(frameSize))
		switch {
		case err != nil:
			t.Fatal(err)
		case f.kind == kindData && f.id == 7:
			r.Next(int(f.length))
			wantData--
		case f.kind == kindWindow && f.id == 9:
			wantControl--
		default:
			t.Fatalf("a frame that nobody wrote: %+v", f)
		}
	}
	if wantData != 0 || wantControl != 0 || o.written != o.queued {
		t.Errorf("%d data frames and %d control frames are missing; %d bytes of %d written", wantData, wantControl, o.written, o.queued)
	}
}

// A control frame waits for the end of the frame that is being written, not for
// all that waits.
func TestOutboxControlOvertakes(t *testing.T) {
	o := outbox{buffers: &sync.Pool{New: newBuffer}, work: make(chan struct{}, 1)}
	for range 4 {
		o.append(frame{kind: kindData, id: 7, length: minFrame}.appendTo(nil))
		o.append(make([]byte, minFrame))
	}
	o.next(minChunk)
	o.wrote()
	o.urgent(nil, frame{kind: kindWindow, id: 9})
	if b := o.next(0); b != nil {
		t.Fatalf("%d bytes in the middle of a frame, want none", len(b))
	}
	b := o.next(minFrame + frameSize - minChunk)
	o.wrote()
	if len(b) != minFrame+frameSize-minChunk {
		t.Fatalf("%d bytes, want the rest of the frame", len(b))
	}
	b = o.next(0)
	o.wrote()
	if f, err := parseFrame(b); len(b) != frameSize || err != nil || f.id != 9 {
		t.Errorf("%d bytes after the frame: %+v, %v; want the control frame", len(b), f, err)
	}
}
