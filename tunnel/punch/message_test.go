package punch

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v3"
	"github.com/pion/stun/v3"
)

const password = "abcdefghijklmnopqrstuvwxyz"

// checkRequest is what the ICE library sends.
func checkRequest(t testing.TB, more ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{
		stun.BindingRequest, stun.NewTransactionIDSetter([12]byte{1, 2, 3}),
		stun.NewUsername("local:remote"), controlling{}, priority{},
	}, append(more, stun.NewShortTermIntegrity(password), stun.Fingerprint)...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

type (
	controlling struct{}
	priority    struct{}
	raw         struct {
		kind  stun.AttrType
		value []byte
	}
)

func (controlling) AddTo(m *stun.Message) error {
	m.Add(stun.AttrICEControlling, make([]byte, 8))
	return nil
}

func (priority) AddTo(m *stun.Message) error {
	m.Add(stun.AttrPriority, []byte{1, 2, 3, 4})
	return nil
}

func (r raw) AddTo(m *stun.Message) error {
	m.Add(r.kind, r.value)
	return nil
}

func answer(t testing.TB, setters ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{
		stun.BindingSuccess, stun.NewTransactionIDSetter([12]byte{1, 2, 3}),
	}, setters...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestParseAccepts(t *testing.T) {
	m, err := parse(checkRequest(t, raw{kind: stun.AttrUseCandidate}))
	if err != nil || !m.isCheck() || m.isAnswer() || !m.signedWith([]byte(password)) || m.signedWith([]byte("other")) {
		t.Errorf("parse(check) = %+v, %v", m, err)
	}
	local, remote, ok := m.fragments()
	if string(local) != "local" || string(remote) != "remote" || !ok {
		t.Errorf("fragments() = %q, %q", local, remote)
	}
	for _, addr := range []string{"192.0.2.1:1234", "[2001:db8::1]:1234"} {
		want := netip.MustParseAddrPort(addr)
		m, err = parse(answer(t, &stun.XORMappedAddress{IP: want.Addr().AsSlice(), Port: 1234},
			stun.NewShortTermIntegrity(password), stun.Fingerprint))
		if err != nil || m.mapped != want || !m.isAnswer() || !m.signedWith([]byte(password)) {
			t.Errorf("parse(answer) = %+v, %v", m, err)
		}
	}
	// An old server, as they are still found.
	m, err = parse(answer(t, stun.NewSoftware("old"), &stun.MappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5},
		raw{stun.AttrSourceAddress, []byte{0, 1, 0, 1, 1, 1, 1, 1}},
		&stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 9), Port: 9}))
	if err != nil || m.mapped != netip.MustParseAddrPort("192.0.2.9:9") {
		t.Errorf("parse(old server's) = %+v, %v", m, err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := checkRequest(t)
	changed := func(change func([]byte) []byte) []byte { return change(append([]byte(nil), good...)) }
	xor := &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 9), Port: 9}
	for name, packet := range map[string][]byte{
		"empty":      nil,
		"one byte":   {0},
		"header cut": good[:19],
		"cut":        good[:len(good)-4],
		"tail":       append(bytes.Clone(good), 0, 0, 0, 0),
		"odd tail":   append(bytes.Clone(good), 0),
		"long":       checkRequest(t, raw{stun.AttrSoftware, make([]byte, 1300)}),
		"indication": changed(func(b []byte) []byte { b[1] = 0x11; return b }),
		"method":     changed(func(b []byte) []byte { b[1] = 0x03; return b }),
		"cookie":     changed(func(b []byte) []byte { b[4]++; return b }),
		"checksum":   changed(func(b []byte) []byte { b[len(b)-1]++; return b }),
		"attribute length": changed(func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[22:], 0xffff)
			return b
		}),
		"unknown required":      checkRequest(t, raw{0x7fff, nil}),
		"priority size":         checkRequest(t, raw{stun.AttrPriority, nil}),
		"use-candidate size":    checkRequest(t, raw{stun.AttrUseCandidate, []byte{1}}),
		"role size":             checkRequest(t, raw{stun.AttrICEControlled, []byte{1}}),
		"twice":                 checkRequest(t, raw{stun.AttrUsername, []byte("another")}),
		"address of 0 bytes":    answer(t, raw{stun.AttrXORMappedAddress, nil}),
		"address of 1 byte":     answer(t, raw{stun.AttrXORMappedAddress, []byte{0}}),
		"address of 4 bytes":    answer(t, raw{stun.AttrXORMappedAddress, []byte{0, 1, 2, 3}}),
		"IPv6 of 8 bytes":       answer(t, raw{stun.AttrXORMappedAddress, []byte{0, 2, 2, 3, 4, 5, 6, 7}}),
		"draft address, 1 byte": answer(t, raw{0x8020, []byte{0}}),
		"mapped of 1 byte":      answer(t, raw{stun.AttrMappedAddress, []byte{0}}),
		"error of 0 bytes":      answer(t, raw{stun.AttrErrorCode, nil}),
		"integrity of 4 bytes":  answer(t, raw{stun.AttrMessageIntegrity, make([]byte, 4)}),
		"after integrity":       answer(t, stun.NewShortTermIntegrity(password), xor),
		"after fingerprint":     answer(t, stun.Fingerprint, xor),
	} {
		if m, err := parse(packet); err == nil {
			t.Errorf("%s: parse() = %+v", name, m)
		}
	}
}

// Whatever parse accepts, the library's parser accepts too and sees the same.
func FuzzParse(f *testing.F) {
	f.Add(checkRequest(f))
	f.Add(answer(f, &stun.XORMappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5}, stun.NewShortTermIntegrity(password), stun.Fingerprint))
	f.Add(answer(f, raw{stun.AttrXORMappedAddress, nil}))
	f.Add(answer(f, raw{0x8020, []byte{0}}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := bytes.Clone(packet)
		m, err := parse(packet)
		m.fragments()
		signed := m.signedWith([]byte(password))
		if !bytes.Equal(before, packet) {
			t.Fatal("parse changed the packet")
		}
		if err != nil {
			return
		}
		lib := &stun.Message{Raw: bytes.Clone(packet)}
		if err := lib.Decode(); err != nil {
			t.Fatalf("the library refuses what parse accepts: %v", err)
		}
		if lib.TransactionID != m.id {
			t.Errorf("id %x, the library sees %x", m.id, lib.TransactionID)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(lib); (err == nil) != m.mapped.IsValid() {
			t.Errorf("address %v, the library sees %v, %v", m.mapped, mapped, err)
		}
		if m.integrityAt != 0 && (stun.NewShortTermIntegrity(password).Check(lib) == nil) != signed {
			t.Errorf("signature valid: %v, the library disagrees", signed)
		}
	})
}

// Whatever arrives, in whatever state, nothing crashes and nothing is kept.
func FuzzDeliver(f *testing.F) {
	f.Add(checkRequest(f), uint16(1))
	f.Add(answer(f, raw{stun.AttrXORMappedAddress, nil}), uint16(3478))
	f.Fuzz(func(t *testing.T, packet []byte, port uint16) {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), port)
		p := New(Config{Write: func([]byte, netip.AddrPort) error { return nil }})
		at := testPort(p)
		p.exchange[[12]byte{1, 2, 3}] = exchange{to: from, port: at}
		at.remoteKey = []byte(password)
		p.Deliver(packet, from)
		if len(p.exchange) > 1 || len(at.remotes) > 1 {
			t.Errorf("%d exchanges, %d remotes", len(p.exchange), len(at.remotes))
		}
	})
}

// testPort registers a port that no agent reads from.
func testPort(p *Puncher) *port {
	at := &port{
		write:   p.config.Write,
		puncher: p, ufrag: "local", key: []byte(password),
		remotes: make(map[netip.AddrPort]*remote),
	}
	p.attempts[at.ufrag] = at
	at.GetConn(at.ufrag, &net.UDPAddr{IP: net.IPv4zero})
	return at
}

// A peer with the right password may still be hostile.
func TestHostilePeerCostsLittle(t *testing.T) {
	p := New(Config{Write: func([]byte, netip.AddrPort) error { return nil }})
	at := testPort(p)
	packet := checkRequest(t)
	for i := range 10_000 {
		p.Deliver(packet, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(i)|1))
	}
	if len(at.remotes) > maxHeard || len(at.links[0].queue) > queueSize {
		t.Errorf("%d remotes, %d packets queued", len(at.remotes), len(at.links[0].queue))
	}
	to := netip.MustParseAddrPort("192.0.2.7:7")
	at.admit(to, ofHost, time.Now()).measure(1) // else few checks are sent
	for i := range 10 * maxOpen {
		if err := at.opens([12]byte{byte(i), byte(i >> 8), 9}, to); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.exchange) > maxOpen || len(at.open) > maxOpen {
		t.Errorf("%d exchanges, %d open", len(p.exchange), len(at.open))
	}
	at.Close()
	if len(p.exchange) != 0 || len(p.attempts) != 0 {
		t.Errorf("%d exchanges, %d attempts after Close", len(p.exchange), len(p.attempts))
	}
}

// A strict check must not be stricter than the library that sends.
func TestLibraryMessagesPass(t *testing.T) {
	p := New(Config{Write: func([]byte, netip.AddrPort) error { return nil }})
	at := testPort(p)
	m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("a:b"),
		raw{stun.AttrUseCandidate, nil}, controlling{}, priority{},
		stun.NewShortTermIntegrity(password), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	at.admit(netip.MustParseAddrPort("1.2.3.4:5"), ofHost, time.Now())
	if _, err := at.links[0].WriteTo(m.Raw, &net.UDPAddr{IP: net.IPv4(1, 2, 3, 4), Port: 5}); err != nil {
		t.Error(err)
	}
	if len(p.exchange) != 1 {
		t.Errorf("%d exchanges, want 1", len(p.exchange))
	}
	var _ ice.UDPMux = at
}

func BenchmarkDeliver(b *testing.B) {
	p := New(Config{Write: func([]byte, netip.AddrPort) error { return nil }})
	testPort(p)
	from := netip.MustParseAddrPort("192.0.2.1:1")
	for name, packet := range map[string][]byte{
		"check": checkRequest(b), "stranger": answer(b, stun.Fingerprint), "garbage": make([]byte, 100),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Deliver(packet, from)
			}
		})
	}
}
