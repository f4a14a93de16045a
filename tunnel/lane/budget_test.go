package lane_test

import (
	"bytes"
	"errors"
	"io"
	"net"
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
		exchange(t, w, payload(2, 2<<20))
	}
	t.Logf("16 MiB there and back took %v", time.Since(start).Round(time.Millisecond))
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
	const budget, stalled = 4 << 20, 60
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
	}, func(_, there *lane.Config) { there.Budget = budget })
	defer close(release)
	var writers sync.WaitGroup
	defer writers.Wait()
	for range stalled {
		s := w.dial(t, lane.Mixed)
		writers.Go(func() {
			s.Write([]byte("s"))
			s.Write(make([]byte, 1<<20))
			_, err := s.Read(make([]byte, 1))
			if !errors.Is(err, net.ErrClosed) { // by the defer below
				wantReset(t, "Read", err, lane.CodeSlow)
			}
		})
		defer s.Close()
	}
	for end := time.Now().Add(soon); w.there.Live() == stalled; pause() {
		if time.Now().After(end) {
			t.Fatal("no stream was reset")
		}
	}
	exchange(t, w, payload(2, 8<<20))
	if w.there.Live() == 0 {
		t.Error("no stalled stream is left, though there is room for some")
	}
}
