package lan

import (
	"strings"
	"testing"
	"time"

	"peerway/signal"
)

func TestNames(t *testing.T) {
	peer, other := signal.NewIdentity().PeerID(), signal.NewIdentity().PeerID()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	name := newName(peer, noon)
	if name == newName(peer, noon) {
		t.Error("a name comes twice")
	}
	if len(name) > 63 || strings.ContainsAny(name, ".=") {
		t.Errorf("%q is no label of a name (RFC 1035 section 2.3.4)", name)
	}
	for _, test := range []struct {
		name string
		of   signal.PeerID
		at   time.Time
		want bool
	}{
		{name, peer, noon, true},
		{strings.ToUpper(name), peer, noon, true},
		{name, peer, noon.In(time.FixedZone("", 14*3600)), true},
		{name, peer, noon.Add(13 * time.Hour), true},
		{name, peer, noon.Add(-13 * time.Hour), true},
		{name, peer, noon.Add(36 * time.Hour), false},
		{name, peer, noon.Add(-37 * time.Hour), false},
		{name, other, noon, false},
		{name[:len(name)-1], peer, noon, false},
		{name + "a", peer, noon, false},
		{"", peer, noon, false},
		{"camera", peer, noon, false},
		{strings.Repeat("ä", 20), peer, noon, false},
	} {
		if got := isName(test.name, test.of, test.at); got != test.want {
			t.Errorf("isName(%q, at %v) = %v, want %v", test.name, test.at, got, test.want)
		}
	}
	// No two characters of the last one name the same bits in another way.
	for _, last := range "abcdefghijklmnopqrstuvwxyz234567" {
		again := name[:len(name)-1] + string(last)
		if isName(again, peer, noon) && again != name {
			t.Errorf("%q counts as %q", again, name)
		}
	}
}
