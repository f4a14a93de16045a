package lane

import "testing"

// TestDedicatedWhileWriting dedicates a lane in the middle of a piece that it
// writes as a mixed one, beside a camera. The others still get their turns.
func TestDedicatedWhileWriting(t *testing.T) {
	var turns turns
	newLane := func() *link {
		l := &link{}
		l.turn.come = make(chan struct{}, 1)
		return l
	}
	camera, late, mixed := newLane(), newLane(), newLane()
	turns.dedicate(camera)
	turns.begin(camera, 1000)
	turns.done(camera, false)

	n, _ := turns.ask(late)
	if n == 0 {
		t.Fatal("no turn beside a camera that has nothing to write")
	}
	turns.begin(late, n)
	turns.dedicate(late)
	turns.done(late, true)
	turns.begin(late, 1000)
	turns.done(late, false)
	if n, wait := turns.ask(mixed); n == 0 {
		t.Errorf("a lane that is dedicated now holds up the mixed ones: wait %v", wait)
	}
}
