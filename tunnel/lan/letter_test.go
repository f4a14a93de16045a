package lan

import (
	"bytes"
	"slices"
	"testing"

	"peerway/signal"
)

func TestLetter(t *testing.T) {
	alice, bob, toBob, fromAlice := two(t)
	eve := signal.NewIdentity().PeerID()
	sealed, err := alice.Seal(bob.PeerID(), make([]byte, MaxMessage))
	if err != nil {
		t.Fatal(err)
	}
	l := letter{from: alice.PeerID(), cookie: cookie{1}, sealed: sealed}
	l.tag = l.tagBy(&toBob.out)
	packet := l.append(nil, bob.PeerID())
	if len(packet) != maxLetter {
		t.Errorf("the largest letter has %d bytes, want %d", len(packet), maxLetter)
	}
	got, ok := parseLetter(packet, bob.PeerID())
	if !ok || got.from != l.from || got.cookie != l.cookie || !bytes.Equal(got.sealed, sealed) || !got.tag.equal(got.tagBy(&fromAlice.in)) {
		t.Errorf("parseLetter() = %+v, %v", got, ok)
	}
	for i := 1 + idSize; i < len(packet); i++ {
		bad := bytes.Clone(packet)
		bad[i] ^= 1
		if got, ok := parseLetter(bad, bob.PeerID()); !ok || got.tag.equal(got.tagBy(&fromAlice.in)) {
			t.Fatalf("byte %d can be changed", i)
		}
	}
	if got, _ := parseLetter(packet, eve); got.from == alice.PeerID() {
		t.Error("who does not know the addressee sees the sender")
	}
	for _, id := range []signal.PeerID{alice.PeerID(), bob.PeerID()} {
		if bytes.Contains(packet, id[:]) {
			t.Error("a letter shows an id")
		}
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": packet[:letterHeader+sealing-1], "long": append(packet, 0), "another type": append([]byte{9}, packet[1:]...),
	} {
		if _, ok := parseLetter(bad, bob.PeerID()); ok {
			t.Errorf("%s: taken for a letter", name)
		}
	}
}

func TestReplies(t *testing.T) {
	_, _, atAlice, atBob := two(t)
	proof := proofOf([]byte("message"))
	ack := appendAck(nil, proof)
	if got, ok := parseAck(ack); !ok || got != proof {
		t.Errorf("parseAck() = %v, %v; want %v", got, ok, proof)
	}
	c := challenge{id: tag{1}, cookie: cookie{2}}
	c.tag = c.tagBy(&atBob.out)
	asked := c.append(nil)
	got, ok := parseChallenge(asked)
	if !ok || got != c || !got.tag.equal(got.tagBy(&atAlice.in)) {
		t.Errorf("parseChallenge() = %+v, %v; want %+v", got, ok, c)
	}
	for i := 1; i < len(asked); i++ {
		bad := bytes.Clone(asked)
		bad[i] ^= 1
		if got, _ := parseChallenge(bad); got.tag.equal(got.tagBy(&atAlice.in)) {
			t.Errorf("byte %d of a challenge can be changed", i)
		}
	}
	for _, packet := range [][]byte{ack, asked} {
		for _, bad := range [][]byte{nil, packet[:len(packet)-1], append(slices.Clip(packet), 0), append([]byte{typeLetter}, packet[1:]...)} {
			_, isAck := parseAck(bad)
			_, isChallenge := parseChallenge(bad)
			if isAck || isChallenge {
				t.Errorf("%x is taken for a reply", bad)
			}
		}
	}
}

func FuzzLetter(f *testing.F) {
	to := signal.PeerID{2}
	l := letter{from: signal.PeerID{1}, sealed: make([]byte, sealing)}
	f.Add(l.append(nil, to))
	f.Add(appendAck(nil, tag{1}))
	f.Add((&challenge{id: tag{1}}).append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if l, ok := parseLetter(packet, to); ok {
			if again := l.append(nil, to); !bytes.Equal(again, packet) {
				t.Errorf("%x comes back as %x", packet, again)
			}
		}
		if proof, ok := parseAck(packet); ok && !bytes.Equal(appendAck(nil, proof), packet) {
			t.Errorf("%x comes back as another acknowledgement", packet)
		}
		if c, ok := parseChallenge(packet); ok && !bytes.Equal(c.append(nil), packet) {
			t.Errorf("%x comes back as another challenge", packet)
		}
	})
}

func FuzzName(f *testing.F) {
	me, to := signal.NewIdentity(), signal.NewIdentity().PeerID()
	f.Add("")
	f.Add("a.b")
	n := name{from: me.PeerID()}
	f.Add(n.text(to))
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseName(text, to); ok {
			if again, ok := parseName(n.text(to), to); !ok || again != n {
				t.Errorf("%q comes back as another name", text)
			}
		}
	})
}
