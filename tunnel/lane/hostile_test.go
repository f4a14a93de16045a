package lane_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"peerway/tunnel/lane"
)

// The frames of yamux, as a peer might send them that does not use this
// package.
const (
	data, window, ping, goAway = 0, 1, 2, 3
	syn, ack, fin, rst, stop   = 1, 2, 4, 8, 16
)

func frame(kind byte, flags uint16, id, length uint32) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, id)
	return binary.BigEndian.AppendUint32(b, length)
}

func dataFrame(id uint32, body []byte) []byte {
	return append(frame(data, 0, id, uint32(len(body))), body...)
}

// header returns the bytes that open a stream.
func header(t testing.TB, fields map[int]any) []byte {
	t.Helper()
	b, err := cbor.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func goodHeader(t testing.TB) []byte { return header(t, map[int]any{0: 1, 1: "web"}) }

// attack returns the attacker's end of a lane into a set with this
// configuration. What the set sends is dropped, or kept if sent is not nil.
func attack(t testing.TB, cfg lane.Config, sent io.Writer) (*memConn, *lane.Set) {
	set := lane.New(cfg)
	stop := run(set)
	a, b := memPair()
	set.Serve(b)
	var draining sync.WaitGroup
	draining.Go(func() {
		if sent == nil {
			sent = io.Discard
		}
		io.Copy(sent, a)
	})
	t.Cleanup(func() {
		stop()
		a.Reset()
		draining.Wait()
		if live := set.Live(); live != 0 {
			t.Errorf("%d streams are live after the end", live)
		}
	})
	return a, set
}

// Whatever breaks the rules ends the lane, and only that.
func TestViolations(t *testing.T) {
	open := append(frame(window, syn, 1, 0), dataFrame(1, goodHeader(t))...)
	open = open[:len(open):len(open)]
	for name, wire := range map[string][]byte{
		"version":           {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"kind":              frame(4, 0, 1, 0),
		"ping":              frame(ping, syn, 0, 1),
		"go away":           frame(goAway, 0, 0, 0),
		"even stream":       frame(window, syn, 2, 0),
		"stream 0":          frame(window, syn, 0, 0),
		"stream twice":      append(open, frame(window, syn, 1, 0)...),
		"stream backwards":  append(frame(window, syn, 5, 0), frame(window, syn, 3, 0)...),
		"open with data":    append(frame(data, syn, 1, 1), 'x'),
		"more than granted": append(open, frame(data, 0, 1, 256<<10+1)...),
		"huge for nobody":   frame(data, 0, 1, 1<<31),
		"end twice":         bytes.Join([][]byte{open, frame(window, fin, 1, 0), frame(window, fin, 1, 0)}, nil),
		"data after end":    bytes.Join([][]byte{open, frame(window, fin, 1, 0), dataFrame(1, []byte("x"))}, nil),
		"end with data":     append(append(open, frame(data, fin, 1, 1)...), 'x'),
		"stop before end":   append(open, frame(window, stop, 1, 0)...),
		"endless window":    append(open, frame(window, 0, 1, 1<<31)...),
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			a, set := attack(t, lane.Config{Handle: func(*lane.Stream) { <-release }}, nil)
			defer close(release) // until then the stream is open, whatever comes
			a.Write(wire)
			for end := time.Now().Add(soon); ; pause() {
				if _, err := a.Write(nil); err == errReset {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the lane is not reset")
				}
			}
			waitLive(t, set, 0)
		})
	}
}

// What is legal must do no harm: frames for streams that are not there, resets
// of everything, window for nothing.
func TestStrayFrames(t *testing.T) {
	var replies syncBuffer
	a, set := attack(t, lane.Config{Handle: echo}, &replies)
	for _, b := range [][]byte{
		frame(window, rst, 1, 5), frame(window, fin|ack, 9, 7), dataFrame(77, make([]byte, 1000)),
		frame(window, syn|rst, 1, 0), frame(window, syn|fin, 3, 0), frame(window, ack, 3, 0), frame(window, rst, 3, 0),
		frame(window, syn, 5, 0), dataFrame(5, nil), dataFrame(5, goodHeader(t)), dataFrame(5, []byte("ping")), frame(window, fin, 5, 0),
	} {
		a.Write(b)
	}
	for end := time.Now().Add(soon); !bytes.Contains(replies.Bytes(), []byte("ping")); pause() {
		if time.Now().After(end) {
			t.Fatalf("no echo in % x", replies.Bytes())
		}
	}
	waitLive(t, set, 0)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func TestBadHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		header []byte
		code   uint16
	}{
		"oversized": {[]byte{0xff, 0xff}, lane.CodeBadHeader},
		"garbage":   {[]byte{0, 3, 0xff, 0xff, 0xff}, lane.CodeBadHeader},
		"empty":     {[]byte{0, 0}, lane.CodeBadHeader},
		"no name":   {header(t, map[int]any{0: 1}), lane.CodeBadHeader},
		"class":     {header(t, map[int]any{0: 1, 1: "web", 2: 9}), lane.CodeBadHeader},
		"version":   {header(t, map[int]any{0: 2, 1: []int{1, 2}}), lane.CodeUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			var replies syncBuffer
			a, set := attack(t, lane.Config{Handle: func(*lane.Stream) { t.Error("handled") }}, &replies)
			a.Write(frame(window, syn, 1, 0))
			a.Write(dataFrame(1, test.header))
			want := binary.BigEndian.AppendUint16([]byte{0x00, 0x19}, test.code) // key 0, unsigned of two bytes
			for end := time.Now().Add(soon); !bytes.Contains(replies.Bytes(), want); pause() {
				if time.Now().After(end) {
					t.Fatalf("no answer with % x in % x", want, replies.Bytes())
				}
			}
			waitLive(t, set, 0)
		})
	}
	t.Run("unknown key", func(t *testing.T) {
		got := make(chan lane.Header, 1)
		a, _ := attack(t, lane.Config{Handle: func(s *lane.Stream) { got <- s.Header() }}, nil)
		a.Write(frame(window, syn, 1, 0))
		a.Write(dataFrame(1, header(t, map[int]any{0: 1, 1: "web", 99: "new"})))
		if h := <-got; h.Service != "web" {
			t.Errorf("header %+v", h)
		}
	})
}

// A peer that opens and resets without end gets no more handlers than allowed.
func TestRapidReset(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	release := make(chan struct{})
	a, set := attack(t, lane.Config{MaxStreams: 16, Handle: func(*lane.Stream) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-release
		mu.Lock()
		running--
		mu.Unlock()
	}}, nil)
	head := goodHeader(t)
	for id := uint32(1); id < 4000; id += 2 {
		a.Write(frame(window, syn, id, 0))
		a.Write(dataFrame(id, head))
		if id%64 == 1 {
			pause() // so that some get as far as a handler
		}
		a.Write(frame(window, rst, id, 0))
	}
	waitLive(t, set, 0)
	close(release)
	mu.Lock()
	defer mu.Unlock()
	if most == 0 || most > 16 {
		t.Errorf("%d handlers ran at once, want 1 to 16", most)
	}
}

// A peer that causes answers without end and takes none of them loses its lane.
func TestFlood(t *testing.T) {
	set := lane.New(lane.Config{MaxStreams: 1, Handle: func(s *lane.Stream) { io.Copy(io.Discard, s) }})
	stop := run(set)
	defer stop()
	a, b := memPair()
	set.Serve(b)
	for id := uint32(1); id < 1<<20; id += 2 {
		if _, err := a.Write(frame(window, syn, id, 0)); err == errReset {
			return
		}
	}
	t.Error("the lane is not reset")
}

// heap returns what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A peer that fills the windows of 200 streams which nobody reads pins no more
// than the budget.
func TestBudgetAgainstHostileSender(t *testing.T) {
	const budget, streams = 8 << 20, 200
	release := make(chan struct{})
	before := heap()
	a, set := attack(t, lane.Config{Budget: lane.NewBudget(budget), Handle: func(s *lane.Stream) {
		s.Answer(0, "")
		<-release
	}}, nil)
	defer close(release)
	head, chunk := goodHeader(t), make([]byte, 32<<10)
	for id := uint32(1); id < 2*streams; id += 2 {
		a.Write(frame(window, syn, id, 0))
		a.Write(dataFrame(id, head))
	}
	for range 7 { // 224 KiB of the 256 KiB each
		for id := uint32(1); id < 2*streams; id += 2 {
			if _, err := a.Write(dataFrame(id, chunk)); err != nil {
				t.Fatalf("the lane has ended: %v", err)
			}
		}
	}
	a.drained(t)
	const constant = 3 << 20 // 200 streams, their goroutines, the buffers of the lane and of the test
	pinned := heap() - before
	t.Logf("budget %d KiB, pinned %d KiB, %d of %d streams are left", budget>>10, pinned>>10, set.Live(), streams)
	if pinned > budget+constant {
		t.Errorf("%d KiB are pinned, want at most %d", pinned>>10, (budget+constant)>>10)
	}
	if live := set.Live(); live == 0 || live == streams {
		t.Errorf("%d of %d streams are left", live, streams)
	}
}

// drained waits until the other end has read all that was written.
func (c *memConn) drained(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(soon); ; pause() {
		c.out.mu.Lock()
		n := c.out.data.Len()
		c.out.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the other end does not read")
		}
	}
}
