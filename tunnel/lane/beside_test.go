package lane_test

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"peerway/tunnel/lane"
)

// A narrow is a world whose tunnel has a rate and a delay, for virtual time.
type narrow struct {
	here, there *lane.Set

	mu   sync.Mutex
	ends []*lineEnd // of who was dialed
}

// narrowWorld makes one in which the set there handles streams with handle, and
// returns it with what ends it.
func narrowWorld(rate float64, delay time.Duration, handle func(*lane.Stream), configure ...func(here *lane.Config)) (w *narrow, end func()) {
	w = &narrow{}
	var carrying sync.WaitGroup
	up, down := newLine(rate, delay), newLine(rate, delay)
	carrying.Go(up.run)
	carrying.Go(down.run)
	w.there = lane.New(lane.Config{Handle: handle})
	here := lane.Config{Open: func(context.Context) (lane.Conn, error) {
		a, b := linePair(up, down)
		w.mu.Lock()
		w.ends = append(w.ends, b)
		w.mu.Unlock()
		w.there.Serve(b)
		return a, nil
	}}
	for _, f := range configure {
		f(&here)
	}
	w.here = lane.New(here)
	stopThere, stopHere := run(w.there), run(w.here)
	return w, func() {
		stopHere()
		stopThere()
		up.close()
		down.close()
		carrying.Wait()
	}
}

const (
	pictureSize  = 33 << 10 // 8 Mbit/s
	pictureEvery = time.Second / 30
)

// film writes pictures as a camera makes them, each with the time it was made.
func film(w io.Writer) {
	picture := make([]byte, pictureSize)
	next := time.Now()
	for {
		binary.BigEndian.PutUint64(picture, uint64(time.Now().UnixNano()))
		if _, err := w.Write(picture); err != nil {
			return
		}
		next = next.Add(pictureEvery)
		time.Sleep(time.Until(next))
	}
}

// serveNarrow films, or pours as much as the tunnel takes.
func serveNarrow(s *lane.Stream) {
	s.Answer(0, "")
	if s.Header().Service == "camera" {
		film(s)
	} else {
		pour(s, 1<<20)
	}
}

// watchNarrow returns how old pictures are when all of them is there.
func watchNarrow(t *testing.T, s io.Reader, pictures int) (ages []time.Duration) {
	t.Helper()
	picture := make([]byte, pictureSize)
	for range pictures {
		if _, err := io.ReadFull(s, picture); err != nil {
			t.Fatal(err)
		}
		ages = append(ages, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(picture)))))
	}
	slices.Sort(ages)
	return ages
}

// Pictures keep their rate and come in time, however many downloads there are;
// the downloads get the rest of the tunnel.
func TestPicturesBesideBulk(t *testing.T) {
	const rate, delay, pictures = 20e6 / 8, 25 * time.Millisecond, 300
	for _, bulk := range []int{0, 1, 16} {
		bubble(t, func(t *testing.T) {
			w, end := narrowWorld(rate, delay, serveNarrow)
			defer end()
			var downloading sync.WaitGroup
			defer downloading.Wait()
			var downloaded atomic.Int64
			for range bulk {
				s, err := w.here.Dial(t.Context(), lane.Header{Service: "bulk"})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				downloading.Go(func() { io.Copy(counter{&downloaded}, s) })
				time.Sleep(100 * time.Millisecond)
			}
			cam, err := w.here.Dial(t.Context(), lane.Header{Service: "camera", Class: lane.Dedicated})
			if err != nil {
				t.Fatal(err)
			}
			defer cam.Close()
			watchNarrow(t, cam, 30) // until the schedule knows the rate
			before, start := downloaded.Load(), time.Now()
			ages := watchNarrow(t, cam, pictures)
			took := time.Since(start)
			share := float64(downloaded.Load()-before) / took.Seconds() / rate
			p50, p95, worst := ages[len(ages)/2], ages[len(ages)*95/100], ages[len(ages)-1]
			t.Logf("%d downloads: pictures are %v old (95 %%: %v, worst %v), downloads get %.0f %% of the tunnel", bulk, p50, p95, worst, 100*share)
			// Alone, a picture takes the delay and 13.5 ms for its bytes.
			if limit := 60 * time.Millisecond; worst > limit {
				t.Errorf("%d downloads: a picture was %v old, want at most %v", bulk, worst, limit)
			}
			if want := pictures * pictureEvery; took > want+100*time.Millisecond {
				t.Errorf("%d downloads: %d pictures took %v, want %v", bulk, pictures, took, want)
			}
			if bulk > 0 && share < 0.55 { // 60 % are left
				t.Errorf("%d downloads get %.0f %% of the tunnel", bulk, 100*share)
			}
		})
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// Mixed lanes are not starved, neither by a dedicated lane that always has more
// nor by one that is stuck.
func TestFloorBesideDedicated(t *testing.T) {
	const rate, delay = 20e6 / 8, 25 * time.Millisecond
	for _, stuck := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w, end := narrowWorld(rate, delay, serveNarrow)
			defer end()
			var reading sync.WaitGroup
			defer reading.Wait()
			var mixed, dedicated atomic.Int64
			for class, n := range map[lane.Class]*atomic.Int64{lane.Dedicated: &dedicated, lane.Mixed: &mixed} {
				s, err := w.here.Dial(t.Context(), lane.Header{Service: "bulk", Class: class})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if err := s.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				reading.Go(func() { io.Copy(counter{n}, s) })
				if class == lane.Dedicated && stuck {
					end := w.ends[len(w.ends)-1]
					end.out.change(func() { end.held = true })
				}
			}
			time.Sleep(2 * time.Second)
			before, first := mixed.Load(), dedicated.Load()
			const over = 10
			time.Sleep(over * time.Second)
			share := float64(mixed.Load()-before) / over / rate
			other := float64(dedicated.Load()-first) / over / rate
			t.Logf("stuck %v: mixed lanes get %.1f %% of the tunnel, the dedicated one %.1f %%", stuck, 100*share, 100*other)
			if least := 1.0 / 20; !stuck && (share < least || share+other < 0.95) {
				t.Errorf("mixed lanes get %.1f %%, want %.1f %% at least, and with the dedicated one all", 100*share, 100*least)
			}
			if stuck && share < 0.9 {
				t.Errorf("beside a dedicated lane that is stuck, mixed ones get %.1f %%", 100*share)
			}
		})
	}
}
