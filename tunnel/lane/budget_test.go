package lane_test

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	"peerway/tunnel/lane"
)

// A reader that does not read stalls its own stream and no other, though all
// share a lane and the stalled ones came first.
func TestStalledReadersHurtOnlyThemselves(t *testing.T) {
	release := make(chan struct{})
	w := join(t, func(s *lane.Stream) {
		s.Answer(0, "")
		var first [1]byte
		s.Read(first[:])
		if first[0] == 's' {
			<-release
		}
		io.Copy(s, s)
		s.CloseWrite()
	})
	// As many as the budget holds: there is no reason to reset any of them.
	const stalled, amount = 40, 400 << 10
	var writers sync.WaitGroup
	want := payload(1, amount)
	for range stalled {
		s := w.dial(t, lane.Mixed)
		writers.Go(func() {
			s.Write([]byte("s"))
			if _, err := s.Write(want); err != nil {
				t.Errorf("write to a stalled reader: %v", err)
			}
			s.CloseWrite()
		})
		writers.Go(func() {
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	start := time.Now()
	for range 8 { // two for each lane
		exchange(t, w, payload(2, 1<<20))
	}
	t.Logf("8 MiB there and back took %v", time.Since(start).Round(time.Millisecond))
	close(release)
	writers.Wait()
}

// exchange sends b through a stream that is read at once, and back.
func exchange(t *testing.T, w *world, b []byte) {
	t.Helper()
	s := w.dial(t, lane.Mixed)
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		s.Write([]byte("a"))
		s.Write(b)
		s.CloseWrite()
	})
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, b) {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(b))
	}
	s.Close()
}

// When the stalled readers have used the budget up, those that pin most for
// longest are reset; a stream that is read goes on.
func TestBudgetResetsTheStalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const budget, stalled, each = 4 << 20, 60, 200 << 10
		release := make(chan struct{})
		w := join(t, func(s *lane.Stream) {
			s.Answer(0, "")
			var first [1]byte
			s.Read(first[:])
			if first[0] == 's' {
				<-release
			}
			io.Copy(s, s)
			s.CloseWrite()
		}, func(_, there *lane.Config) { there.Budget = lane.NewBudget(budget) })
		t.Cleanup(func() { close(release) })
		streams := make([]*lane.Stream, stalled)
		for i := range streams {
			streams[i] = w.dial(t, lane.Mixed)
			streams[i].Write([]byte("s"))
			streams[i].Write(make([]byte, each)) // fails if it is among the first to go
			time.Sleep(time.Second)
		}
		exchange(t, w, payload(2, 4<<20))
		left := 0
		for i, s := range streams {
			s.SetReadDeadline(time.Now()) // what is known is told at once
			if err := s.Answered(t.Context()); err == nil {
				if left++; i < stalled/2 {
					t.Errorf("stream %d is left, though later ones are not", i)
				}
			} else {
				wantReset(t, "Answered", err, lane.CodeSlow)
			}
		}
		if left == 0 || int64(left)*each > budget {
			t.Errorf("%d stalled streams are left", left)
		}
	})
}
