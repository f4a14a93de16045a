package relay_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"peerway/integration/leak"
	"peerway/signal"
	"peerway/signal/relay"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFrame(t *testing.T) {
	b := relay.AppendFrame(nil, 0x0102030405060708, []byte("packet"))
	golden, err := os.ReadFile("testdata/frame.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(b), strings.TrimSpace(string(golden)); got != want {
		t.Errorf("AppendFrame() = %s, want %s", got, want)
	}
	session, packet, ok := relay.ParseFrame(b)
	if !ok || session != 0x0102030405060708 || string(packet) != "packet" {
		t.Errorf("ParseFrame() = %x, %q, %v", session, packet, ok)
	}
	for _, bad := range [][]byte{nil, {1}, b[:8], append([]byte{2}, b[1:]...), make([]byte, 1510)} {
		if _, _, ok := relay.ParseFrame(bad); ok {
			t.Errorf("ParseFrame(%x) accepts", bad)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(relay.AppendFrame(nil, 7, []byte("packet")))
	f.Fuzz(func(t *testing.T, b []byte) {
		session, packet, ok := relay.ParseFrame(b)
		if ok && !bytes.Equal(relay.AppendFrame(nil, session, packet), b) {
			t.Errorf("%x does not survive", b)
		}
		if ok && !relay.IsFrame(b) {
			t.Errorf("%x is no frame", b)
		}
	})
}

func TestTable(t *testing.T) {
	a, b, c := signal.PeerID{1}, signal.PeerID{2}, signal.PeerID{3}
	now := time.Unix(1000, 0)
	var table relay.Table
	if end, err := table.Bind(7, a, b, now); end != 0 || err != nil {
		t.Fatal(end, err)
	}
	for want, from := range []signal.PeerID{a, b} { // again, by either end
		end, err := table.Bind(7, from, map[signal.PeerID]signal.PeerID{a: b, b: a}[from], now)
		if int(end) != want || err != nil {
			t.Errorf("Bind again = %d, %v, want %d", end, err, want)
		}
	}
	if _, err := table.Bind(7, a, c, now); !errors.Is(err, relay.ErrTaken) {
		t.Errorf("Bind of a session of others = %v, want %v", err, relay.ErrTaken)
	}
	if _, err := table.Bind(8, a, a, now); !errors.Is(err, relay.ErrWithSelf) {
		t.Errorf("Bind with oneself = %v, want %v", err, relay.ErrWithSelf)
	}
	for _, test := range []struct {
		id       uint64
		from, to signal.PeerID
		ok       bool
	}{{7, a, b, true}, {7, b, a, true}, {7, c, signal.PeerID{}, false}, {9, a, signal.PeerID{}, false}} {
		if to, ok := table.Other(test.id, test.from, now); to != test.to || ok != test.ok {
			t.Errorf("Forward(%d, %v) = %v, %v", test.id, test.from, to, ok)
		}
	}
	now = now.Add(relay.IdleAfter - time.Second)
	table.Other(7, b, now)
	table.Sweep(now.Add(2 * time.Second))
	if table.Len() != 1 {
		t.Error("a session in use was forgotten")
	}
	table.Sweep(now.Add(relay.IdleAfter))
	if table.Len() != 0 {
		t.Error("an idle session was not forgotten")
	}
}

func TestTableQuota(t *testing.T) {
	a, b, now := signal.PeerID{1}, signal.PeerID{2}, time.Unix(1000, 0)
	table := relay.Table{Quota: 10_000}
	table.Bind(7, a, b, now)
	table.Bind(8, b, a, now)
	table.Bind(9, a, signal.PeerID{3}, now)
	passed, spent := 0, 0
	for range 30 {
		ok, left := table.Pay(7, 1000, now)
		if ok {
			passed++
		}
		if left > 0 {
			spent++
		}
		if left > 0 && (ok || left != 86_400*time.Second-1000*time.Second) {
			t.Errorf("the quota is used up for %v", left)
		}
	}
	if passed != 10 || spent != 1 {
		t.Errorf("%d packets of 1000 bytes passed, %d times told, want 10 and 1", passed, spent)
	}
	now = now.Add(time.Second)
	if ok, left := table.Pay(7, 1000, now); ok || left == 0 {
		t.Error("who goes on is not told again")
	}
	if ok, _ := table.Pay(8, 1000, now); ok {
		t.Error("another session of the same peers has a quota of its own")
	}
	if ok, _ := table.Pay(9, 1000, now); !ok {
		t.Error("other peers pay for it")
	}
	if ok, _ := table.Pay(8, 1000, now.Add(24*time.Hour)); !ok {
		t.Error("the quota of yesterday is used up today")
	}
}

func TestTableIsBounded(t *testing.T) {
	a, b := signal.PeerID{1}, signal.PeerID{2}
	now := time.Unix(1000, 0)
	var table relay.Table
	for id := range uint64(relay.MaxSessions) {
		if _, err := table.Bind(id, a, b, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.Bind(1<<40, a, b, now); !errors.Is(err, relay.ErrTooMany) {
		t.Errorf("Bind = %v, want %v", err, relay.ErrTooMany)
	}
	if _, err := table.Bind(1<<40, b, a, now); err != nil { // another peer's own
		t.Error(err)
	}
	table.Sweep(now.Add(relay.IdleAfter))
	if _, err := table.Bind(1<<41, a, b, now); err != nil {
		t.Errorf("Bind after the others expired = %v", err)
	}
}

func TestForwardAllocatesNothing(t *testing.T) {
	var table relay.Table
	now := time.Unix(1000, 0)
	if _, err := table.Bind(1, signal.PeerID{1}, signal.PeerID{2}, now); err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(100, func() {
		table.Other(1, signal.PeerID{1}, now)
		table.Pay(1, 100, now)
	})
	if got != 0 {
		t.Errorf("%v allocations for a packet, want none", got)
	}
}

func BenchmarkForward(b *testing.B) {
	var table relay.Table
	now := time.Unix(1000, 0)
	for id := range uint64(1000) {
		table.Bind(id, signal.PeerID{1}, signal.PeerID{2}, now)
	}
	b.ReportAllocs()
	for b.Loop() {
		table.Other(500, signal.PeerID{1}, now)
		table.Pay(500, 100, now)
	}
}

// stunRequest makes a request with somebody else's code.
func stunRequest(t testing.TB, setters ...stun.Setter) []byte {
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestSTUN(t *testing.T) {
	for _, from := range []string{"192.0.2.7:4321", "[2001:db8::7]:4321", "[::ffff:192.0.2.7]:4321"} {
		addr := netip.MustParseAddrPort(from)
		request := stunRequest(t, stun.NewSoftware("a test"), stun.Fingerprint)
		b, _, ok := relay.AppendSTUN(nil, request, addr)
		if !ok {
			t.Fatalf("no answer to %x", request)
		}
		answer := &stun.Message{Raw: b}
		if err := answer.Decode(); err != nil {
			t.Fatal(err)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(answer); err != nil {
			t.Fatal(err)
		}
		if answer.Type != stun.BindingSuccess || !bytes.Equal(answer.TransactionID[:], request[8:20]) ||
			!mapped.IP.Equal(addr.Addr().Unmap().AsSlice()) || mapped.Port != 4321 {
			t.Errorf("to %s the answer is %v with %v", from, answer, mapped)
		}
	}
}

func TestSTUNRefuses(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.7:4321")
	good := stunRequest(t)
	change := func(at int, to byte) []byte { b := bytes.Clone(good); b[at] = to; return b }
	indication := change(1, 0x11)
	for name, bad := range map[string][]byte{
		"empty": nil, "short": good[:19], "length": change(3, 4), "cookie": change(4, 0),
		"indication": indication, "answer": change(0, 1), "quic": append([]byte{0xc0}, good[1:]...),
		"trailing": append(bytes.Clone(good), 0), "attribute": append(change(3, 4), 0x80, 0x22, 0, 9),
		"huge": append(change(2, 0x10), make([]byte, 0x1000)...),
	} {
		if b, _, ok := relay.AppendSTUN(nil, bad, from); ok {
			t.Errorf("%s: answered with %x", name, b)
		}
	}
	unknown := stunRequest(t, stun.RawAttribute{Type: 0x7001, Value: []byte{1, 2, 3}})
	b, _, ok := relay.AppendSTUN(nil, unknown, from)
	answer := &stun.Message{Raw: b}
	if err := answer.Decode(); !ok || err != nil {
		t.Fatalf("answer to an unknown attribute: %x, %v, %v", b, ok, err)
	}
	var code stun.ErrorCodeAttribute
	attributes, err := answer.Get(stun.AttrUnknownAttributes)
	if err := errors.Join(err, code.GetFrom(answer)); err != nil {
		t.Fatal(err)
	}
	if code.Code != stun.CodeUnknownAttribute || !bytes.Equal(attributes, []byte{0x70, 0x01}) {
		t.Errorf("answer %v, attributes %v", code, attributes)
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(stunRequest(f))
	f.Add(stunRequest(f, stun.NewSoftware("x"), stun.RawAttribute{Type: 0x7001, Value: []byte{1}}))
	from := netip.MustParseAddrPort("[2001:db8::7]:4321")
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, _, ok := relay.AppendSTUN(nil, b, from)
		if !ok {
			return
		}
		if len(answer) > len(b)+24 {
			t.Errorf("%d bytes answer %d", len(answer), len(b))
		}
		if err := (&stun.Message{Raw: answer}).Decode(); err != nil {
			t.Errorf("answer %x: %v", answer, err)
		}
	})
}

func TestServeSTUN(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- relay.NewServer(relay.Key{}, 0).Serve(ctx, conn, nil) }()
	client, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	in := make([]byte, 1500)
	client.Write([]byte("garbage"))
	client.Write(stunRequest(t))
	if _, err := client.Read(in); err != nil {
		t.Fatal(err)
	}
	// More than the burst: the excess is not answered.
	answered := 1
	for range 400 {
		client.Write(stunRequest(t))
	}
	for client.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); ; answered++ {
		if _, err := client.Read(in); err != nil {
			break
		}
	}
	if answered < 50 || answered > 200 {
		t.Errorf("%d answers to 401 requests, want about 100", answered)
	}
	over := errors.New("over")
	cancel(over)
	if err := <-done; !errors.Is(err, over) {
		t.Errorf("ServeSTUN() = %v, want %v", err, over)
	}
}
