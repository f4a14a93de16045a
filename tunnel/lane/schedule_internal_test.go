package lane

import (
	"testing"
	"time"
)

// at returns a moment, so many milliseconds after some other.
func at(ms int) time.Time { return time.Unix(1e9, 0).Add(time.Duration(ms) * time.Millisecond) }

func wantAdmitted(t *testing.T, what string, s *schedule, now time.Time, want int, wantWait time.Duration) {
	t.Helper()
	if n, wait := s.admit(now); n != want || wait != wantWait {
		t.Errorf("%s: admitted %d bytes, wait %v; want %d, %v", what, n, wait, want, wantWait)
	}
}

// Without dedicated lanes there is no limit; with one that is active, a chunk at
// a time, and none before it.
func TestScheduleLetsDedicatedLanesGoFirst(t *testing.T) {
	var s schedule
	var picture, first, second piece
	wantAdmitted(t, "nobody else", &s, at(0), unlimited, 0)
	s.beginDedicated(&picture, 10000, at(10))
	s.served = at(10)
	wantAdmitted(t, "while a picture waits", &s, at(11), 0, floorEvery-time.Millisecond)
	s.done(&picture, at(12))
	wantAdmitted(t, "between pictures", &s, at(13), minChunk, 0)
	s.beginMixed(&first, minChunk, at(13))
	wantAdmitted(t, "while another lane writes", &s, at(14), 0, overdue-time.Millisecond)
	s.done(&first, at(15))
	wantAdmitted(t, "after it", &s, at(15), minChunk, 0)
	s.beginMixed(&second, minChunk, at(15))
	wantAdmitted(t, "while another lane is stuck", &s, at(15).Add(overdue), minChunk, 0)
	wantAdmitted(t, "long after the last picture", &s, at(12).Add(activeFor), unlimited, 0)
}

// A dedicated lane that always has more leaves the floor.
func TestScheduleFloor(t *testing.T) {
	var s schedule
	var picture, chunk piece
	const total = 10 << 20
	given := 0
	for sent := 0; sent < total; sent += dedicatedChunk {
		now := at(sent / 2000)
		s.beginDedicated(&picture, dedicatedChunk, now)
		for {
			n, _ := s.admit(now)
			if n == 0 {
				break
			}
			s.beginMixed(&chunk, n, now)
			s.done(&chunk, now)
			given += n
		}
	}
	if want := total / floorShare; given < want*9/10 || given > want*11/10 {
		t.Errorf("mixed lanes got %d bytes beside %d, want about %d", given, total, want)
	}
}

// A dedicated lane that does not get on although others do is not waited for.
func TestScheduleOvertakesTheStuck(t *testing.T) {
	var s schedule
	var stuck, chunk piece
	now := at(0)
	s.beginDedicated(&stuck, dedicatedChunk, now)
	s.served = now
	written := 0
	for written <= dedicatedChunk+overtakenBy {
		n, wait := s.admit(now)
		if n == 0 {
			now = now.Add(wait)
			continue
		}
		s.beginMixed(&chunk, n, now)
		s.done(&chunk, now)
		written += n
	}
	if took := now.Sub(at(0)); took > time.Second {
		t.Errorf("it took %v to see that a dedicated lane is stuck", took)
	}
	s.chunk = maxChunk
	wantAdmitted(t, "beside one that is stuck", &s, now, maxChunk, 0)
	s.beginDedicated(&stuck, 1000, now)
	wantAdmitted(t, "when it got on", &s, now, 0, floorEvery)
}

// Chunks follow the rate of the tunnel.
func TestScheduleMeasures(t *testing.T) {
	for _, c := range []struct {
		rate int // bytes per millisecond
		want int
	}{
		{100, minChunk},
		{2500, 7500},
		{10000, 30000},
		{125000, maxChunk},
	} {
		var s schedule
		var picture, chunk piece
		s.beginDedicated(&picture, 1000, at(0))
		s.done(&picture, at(0))
		for ms := range 500 {
			s.beginMixed(&chunk, c.rate, at(ms))
			s.done(&chunk, at(ms+1))
		}
		if s.chunk < c.want*9/10 || s.chunk > c.want*11/10 {
			t.Errorf("at %d kB/s a chunk has %d bytes, want %d", c.rate, s.chunk, c.want)
		}
	}
}

// The end of a write that the schedule was not told of changes nothing.
func TestScheduleStrangePieces(t *testing.T) {
	var s schedule
	var p piece
	s.done(&p, at(0))
	s.beginDedicated(&p, 10, at(1))
	s.done(&p, at(2))
	s.done(&p, at(3))
	if len(s.dedicated) != 0 || s.heard != at(2) {
		t.Errorf("%d pieces, heard at %v", len(s.dedicated), s.heard)
	}
}

// One operation is a chunk of a mixed lane between two pictures.
func BenchmarkSchedule(b *testing.B) {
	var s schedule
	var picture, chunk piece
	ms := 0
	b.ReportAllocs()
	for b.Loop() {
		now := at(ms)
		s.beginDedicated(&picture, dedicatedChunk, now)
		s.done(&picture, now)
		n, _ := s.admit(now)
		s.beginMixed(&chunk, n, now)
		s.done(&chunk, now)
		ms++
	}
}
