package tunnel

import (
	"testing"
	"time"

	"peerway/tunnel/path"
)

// TestLostWhileQuiet: a direct path that ICE has lost is left if QUIC, which keeps itself alive,
// was not heard there either.
func TestLostWhileQuiet(t *testing.T) {
	a, b := newPair(t, true, time.Hour, echo)
	if err := ping(t.Context(), a.Manager, b.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	waitPath(t, a.Manager, "direct")
	waitPath(t, b.Manager, "direct")
	s := b.up(t)
	b.kill() // the climber of it is this one
	c := &climber{s: s, paths: path.NewPaths()}
	heard := s.route.Stats().Direct.Heard
	c.paths.DirectUp(heard, s.whereNow().Direct, time.Millisecond)
	c.apply(c.paths.Tick(heard, path.Seen{Direct: path.PathSeen{Answered: heard.Add(1)}}))
	for _, test := range []struct {
		after time.Duration
		want  path.Name
	}{
		{keepAlive + 500*time.Millisecond, path.Direct},
		{keepAlive + 3*time.Second, path.Websocket},
	} {
		c.lost(heard.Add(test.after))
		if got := s.whereNow().Name; got != test.want {
			t.Errorf("%v after the peer was heard the path is %v, want %v", test.after, got, test.want)
		}
	}
}
