package portmap

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	ours     = nonce([]byte("nonceNONCEno"))
	question = pcpQuestion{netip.MustParseAddr("192.168.1.2"), ours, 40000, netip.MustParseAddrPort("0.0.0.0:40000"), 7200}
)

// What miniupnpd 2.3.1 answered to question, and to others.
const (
	pcpMapped      = "0281000000001c200000d9a80000000000000000000000006e6f6e63654e4f4e43456e6f110000009c409c4000000000000000000000ffff0b000064"
	pcpAnnounced   = "02800000000000000000d9a8000000000000000000000000"
	natpmpAt       = "008000000000d9a80b000064"
	natpmpMapped   = "008100000000d9a89c409c4000001c20"
	natpmpRefusing = "0080000100000005"
)

func packet(t testing.TB, digits string) []byte {
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPCPPackets(t *testing.T) {
	const want = "0201000000001c2000000000000000000000ffffc0a80102" +
		"6e6f6e63654e4f4e43456e6f110000009c409c4000000000000000000000ffff00000000"
	if got := hex.EncodeToString(question.packet()); got != want {
		t.Errorf("a MAP request is\n%s, want\n%s", got, want)
	}
	if got, want := hex.EncodeToString(announcePCP(question.local)), "020000000000000000000000000000000000ffffc0a80102"; got != want {
		t.Errorf("an ANNOUNCE request is %s, want %s", got, want)
	}
	r, err := parsePCP(packet(t, pcpMapped))
	if want := (pcpReply{pcpMap, 0, 7200, 0xd9a8, ours, 40000, netip.MustParseAddrPort("11.0.0.100:40000")}); err != nil || r != want {
		t.Errorf("parsePCP() = %+v, %v, want %+v", r, err, want)
	}
	if !r.answers(question) {
		t.Error("it answers the question")
	}
	for name, change := range map[string]func(*pcpReply){
		"nonce":  func(r *pcpReply) { r.nonce[11]++ },
		"port":   func(r *pcpReply) { r.port++ },
		"opcode": func(r *pcpReply) { r.opcode = pcpAnnounce },
	} {
		other := r
		if change(&other); other.answers(question) {
			t.Errorf("one with another %s is an answer", name)
		}
	}
	if r, err := parsePCP(packet(t, pcpAnnounced)); err != nil || r.opcode != pcpAnnounce || r.epoch != 0xd9a8 {
		t.Errorf("parsePCP() = %+v, %v", r, err)
	}
	if _, err := parsePCP(packet(t, natpmpRefusing)); !errors.As(err, new(refusal)) {
		t.Errorf("parsePCP() of a router that speaks NAT-PMP only: %v", err)
	}
}

func TestNATPMPPackets(t *testing.T) {
	if got, want := hex.EncodeToString(askNATPMPMapping(40000, 40001, 7200)), "000100009c409c4100001c20"; got != want {
		t.Errorf("a request for a mapping is %s, want %s", got, want)
	}
	r, err := parseNATPMP(packet(t, natpmpAt))
	if want := (natpmpReply{epoch: 0xd9a8, external: netip.MustParseAddr("11.0.0.100")}); err != nil || r != want {
		t.Errorf("parseNATPMP() = %+v, %v, want %+v", r, err, want)
	}
	r, err = parseNATPMP(packet(t, natpmpMapped))
	if want := (natpmpReply{opcode: natpmpMapUDP, epoch: 0xd9a8, port: 40000, externalPort: 40000, life: 7200}); err != nil || r != want {
		t.Errorf("parseNATPMP() = %+v, %v, want %+v", r, err, want)
	}
	if _, err := parseNATPMP(packet(t, pcpAnnounced)); !errors.As(err, new(refusal)) {
		t.Errorf("parseNATPMP() of a router that speaks PCP only: %v", err)
	}
}

// Every part of an answer is not an answer, but those of NAT-PMP that say no.
func TestShortPackets(t *testing.T) {
	for _, whole := range []string{pcpMapped, pcpAnnounced} {
		for n := range len(whole)/2 - 1 {
			if r, err := parsePCP(packet(t, whole)[:n]); !errors.Is(err, errStray) {
				t.Errorf("%d bytes of %s: %+v, %v", n, whole, r, err)
			}
		}
	}
	for _, whole := range []string{natpmpAt, natpmpMapped} {
		for n := range len(whole)/2 - 1 {
			if r, err := parseNATPMP(packet(t, whole)[:n]); !errors.Is(err, errStray) {
				t.Errorf("%d bytes of %s: %+v, %v", n, whole, r, err)
			}
		}
	}
}

func TestEpoch(t *testing.T) {
	begun := time.Now()
	for name, test := range map[string]struct {
		seconds uint32
		after   time.Duration
		lost    bool
	}{
		"same":           {1000, 0, false},
		"regular":        {1060, time.Minute, false},
		"a second back":  {999, 0, false}, // its answers overtook each other
		"restarted":      {3, time.Minute, true},
		"slow":           {1058, time.Minute, false},
		"much too slow":  {1010, time.Minute, true},
		"much too fast":  {1200, time.Minute, true},
		"restarted late": {1100, time.Hour, true},
	} {
		e := epoch{}
		if e.advance(1000, begun) {
			t.Errorf("%s: lost before anything was known", name)
		}
		if got := e.advance(test.seconds, begun.Add(test.after)); got != test.lost {
			t.Errorf("%s: lost is %v, want %v", name, got, test.lost)
		}
	}
}

func TestIsPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"203.0.113.7": true, "8.8.8.8": true, "100.63.255.255": true, "100.128.0.1": true,
		"0.0.0.0": false, "10.0.0.1": false, "172.16.3.4": false, "192.168.1.1": false, "100.64.0.1": false,
		"100.127.255.255": false, "127.0.0.1": false, "169.254.1.1": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("isPublic(%s) = %v, want %v", address, got, want)
		}
	}
	if isPublic(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func FuzzPCP(f *testing.F) {
	for _, s := range []string{pcpMapped, pcpAnnounced, natpmpAt, natpmpMapped, natpmpRefusing} {
		f.Add(packet(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parsePCP(b)
		if err == nil && r.answers(question) && len(b) < pcpHeader+pcpMapSize {
			t.Errorf("%x is an answer", b)
		}
		isAnnouncement(b)
	})
}

func FuzzNATPMP(f *testing.F) {
	for _, s := range []string{pcpMapped, pcpAnnounced, natpmpAt, natpmpMapped, natpmpRefusing} {
		f.Add(packet(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseNATPMP(b)
		if err == nil && r.result == 0 && len(b) < natpmpAddressSize {
			t.Errorf("%x is an answer", b)
		}
	})
}
