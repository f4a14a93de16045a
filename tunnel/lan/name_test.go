package lan

import (
	"strings"
	"testing"
	"time"

	"peerway/signal"
)

// two returns two peers and how each knows the other.
func two(t testing.TB) (alice, bob signal.Identity, atAlice, atBob *correspondent) {
	t.Helper()
	alice, bob = signal.NewIdentity(), signal.NewIdentity()
	return alice, bob, correspond(t, alice, bob.PeerID()), correspond(t, bob, alice.PeerID())
}

func correspond(t testing.TB, me signal.Identity, with signal.PeerID) *correspondent {
	t.Helper()
	c, err := newCorrespondents(me).of(with)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNames(t *testing.T) {
	alice, bob, toBob, fromAlice := two(t)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	_, text := newName(alice.PeerID(), bob.PeerID(), toBob, noon)
	if _, again := newName(alice.PeerID(), bob.PeerID(), toBob, noon); text == again {
		t.Error("a name comes twice")
	}
	for label := range strings.SplitSeq(text, ".") {
		if len(label) > 63 || strings.Contains(label, "=") {
			t.Errorf("%q is no label of a name (RFC 1035 section 2.3.4)", label)
		}
	}
	for _, text := range []string{text, strings.ToUpper(text)} {
		n, ok := parseName(text, bob.PeerID())
		if !ok || n.from != alice.PeerID() || !n.isGenuine(fromAlice, noon) {
			t.Errorf("parseName(%q) = %+v, %v", text, n, ok)
		}
	}
	if n, _ := parseName(text, alice.PeerID()); n.from == alice.PeerID() {
		t.Error("who does not know for whom it is sees who asks")
	}
	for _, bad := range []string{"", ".", "camera", text[1:], text[:len(text)-1], text + "a", text + ".a", "a" + text, strings.Replace(text, ".", "", 1), strings.Repeat("ä", 20)} {
		if _, ok := parseName(bad, bob.PeerID()); ok {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	// No two characters of the last one of a label name the same bits in another way.
	first, _, _ := strings.Cut(text, ".")
	for _, last := range "abcdefghijklmnopqrstuvwxyz234567" {
		again := first[:len(first)-1] + string(last) + text[len(first):]
		if n, ok := parseName(again, bob.PeerID()); ok && again != text && n.isGenuine(fromAlice, noon) {
			t.Errorf("%q counts as %q", again, text)
		}
	}
}

func TestNamesAreGenuine(t *testing.T) {
	alice, bob, toBob, fromAlice := two(t)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	_, text := newName(alice.PeerID(), bob.PeerID(), toBob, noon)
	for _, test := range []struct {
		name string
		by   *correspondent
		at   time.Time
		want bool
	}{
		{"now", fromAlice, noon, true},
		{"elsewhere", fromAlice, noon.In(time.FixedZone("", 14*3600)), true},
		{"after days", fromAlice, noon.AddDate(0, 0, maxAge), true},
		{"too late", fromAlice, noon.AddDate(0, 0, maxAge+1), false},
		{"with a clock that is late", fromAlice, time.Unix(0, 0), true},
		{"before all clocks", fromAlice, time.Time{}, true},
		{"to who sent it", toBob, noon, false},
		{"as if of another", correspond(t, bob, signal.NewIdentity().PeerID()), noon, false},
		{"by another", correspond(t, signal.NewIdentity(), alice.PeerID()), noon, false},
	} {
		n, _ := parseName(text, bob.PeerID())
		if got := n.isGenuine(test.by, test.at); got != test.want {
			t.Errorf("%s: genuine = %v, want %v", test.name, got, test.want)
		}
	}
}
