package lan

import (
	"bytes"
	"testing"

	"peerway/signal"
)

func TestLetter(t *testing.T) {
	alice, bob, eve := signal.NewIdentity(), signal.NewIdentity().PeerID(), signal.NewIdentity().PeerID()
	sealed, err := alice.Seal(bob, make([]byte, MaxMessage))
	if err != nil {
		t.Fatal(err)
	}
	packet := appendLetter(nil, alice.PeerID(), bob, sealed)
	if len(packet) != maxLetter {
		t.Errorf("the largest letter has %d bytes, want %d", len(packet), maxLetter)
	}
	from, got, ok := parseLetter(packet, bob)
	if !ok || from != alice.PeerID() || !bytes.Equal(got, sealed) {
		t.Errorf("parseLetter() = %v, %v", from, ok)
	}
	if from, _, _ := parseLetter(packet, eve); from == alice.PeerID() {
		t.Error("who does not know the addressee sees the sender")
	}
	id := alice.PeerID()
	if bytes.Contains(packet, id[:]) || bytes.Contains(packet, bob[:]) {
		t.Error("a letter shows an id")
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": packet[:letterHeader+sealing-1], "long": append(packet, 0), "another type": append([]byte{9}, packet[1:]...),
	} {
		if _, _, ok := parseLetter(bad, bob); ok {
			t.Errorf("%s: taken for a letter", name)
		}
	}
}

func TestAck(t *testing.T) {
	p := proofOf([]byte("message"))
	packet := appendAck(nil, p)
	if got, ok := parseAck(packet); !ok || got != p {
		t.Errorf("parseAck() = %v, %v; want %v", got, ok, p)
	}
	for _, bad := range [][]byte{nil, packet[:ackSize-1], append(packet, 0), append([]byte{typeLetter}, packet[1:]...)} {
		if _, ok := parseAck(bad); ok {
			t.Errorf("%x is taken for an acknowledgement", bad)
		}
	}
}

func FuzzLetter(f *testing.F) {
	to := signal.PeerID{2}
	f.Add(appendLetter(nil, signal.PeerID{1}, to, make([]byte, sealing)))
	f.Add(appendAck(nil, proof{1}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if from, sealed, ok := parseLetter(packet, to); ok {
			if again := appendLetter(nil, from, to, sealed); !bytes.Equal(again, packet) {
				t.Errorf("%x comes back as %x", packet, again)
			}
		}
		if p, ok := parseAck(packet); ok && !bytes.Equal(appendAck(nil, p), packet) {
			t.Errorf("%x comes back as another acknowledgement", packet)
		}
	})
}
