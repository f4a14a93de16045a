package relay_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"peerway/signal/relay"
)

const (
	session = 0x0102030405060708
	pair    = 0x090a
)

var (
	here    = netip.MustParseAddrPort("192.0.2.1:1111")
	there   = netip.MustParseAddrPort("198.51.100.2:2222")
	nowhere = netip.MustParseAddrPort("203.0.113.3:3333")
)

// A stage is a forwarder and the two ends of a session.
type stage struct {
	t    *testing.T
	now  time.Time
	key  relay.Key
	f    *relay.Forwarder
	ends [2]*relay.Binding
}

func newStage(t *testing.T, limits relay.Limits) *stage {
	s := &stage{t: t, now: time.Unix(1e9, 0), key: relay.Key{1, 2, 3}}
	s.f = relay.NewForwarder(s.key)
	for i := range s.ends {
		s.ends[i] = relay.NewBinding(s.key.Grant(session, uint8(i), pair, s.now.Add(10*time.Minute), limits))
	}
	return s
}

// bind lets an end ask from an address until it is content, or rounds are over.
func (s *stage) bind(end int, from netip.AddrPort) bool {
	for range 3 {
		packet := s.ends[end].Tick(s.now)
		if packet == nil {
			break
		}
		if answer, ok := s.f.Bind(nil, packet, relay.Line{Remote: from}, s.now); ok {
			if len(answer) > len(packet) || !relay.IsAnswer(answer) {
				s.t.Errorf("a request of %d bytes is answered with %x", len(packet), answer)
			}
			s.now = s.now.Add(20 * time.Millisecond)
			s.ends[end].Hear(s.now, answer)
		}
	}
	return s.ends[end].Bound()
}

// wantForward asks where packets from an address go; the zero address is nowhere.
func (s *stage) wantForward(from, want netip.AddrPort) {
	s.t.Helper()
	if to, ok := s.f.Forward(session, from, 1000, s.now); ok != want.IsValid() || ok && to.Remote != want {
		s.t.Errorf("packets from %v go to %v, %v; want %v", from, to, ok, want)
	}
}

func TestForward(t *testing.T) {
	s := newStage(t, relay.Limits{})
	s.wantForward(here, netip.AddrPort{})
	if !s.bind(0, here) {
		t.Fatal("the first end is not bound")
	}
	s.wantForward(here, netip.AddrPort{}) // alone
	if !s.bind(1, there) {
		t.Fatal("the second end is not bound")
	}
	s.wantForward(here, there)
	s.wantForward(there, here)
	s.wantForward(nowhere, netip.AddrPort{})

	s.now = s.now.Add(11 * time.Second) // the NAT of one end has forgotten
	if s.bind(0, nowhere); !s.ends[0].Bound() {
		t.Fatal("the end is not bound from its new address")
	}
	s.wantForward(nowhere, there)
	s.wantForward(here, netip.AddrPort{})

	s.now = s.now.Add(30 * time.Second)
	s.f.Sweep(s.now)
	s.now = s.now.Add(40 * time.Second)
	s.f.Sweep(s.now)
	if s.f.Len() != 0 {
		t.Error("a silent session is not forgotten")
	}
}

// Whatever somebody makes of a request that he overheard, he gets neither end.
func TestBindRefuses(t *testing.T) {
	s := newStage(t, relay.Limits{})
	var overheard [][]byte
	for end, from := range []netip.AddrPort{here, there} {
		for range 2 {
			packet := s.ends[end].Tick(s.now)
			overheard = append(overheard, packet)
			answer, _ := s.f.Bind(nil, packet, relay.Line{Remote: from}, s.now)
			s.ends[end].Hear(s.now, answer)
		}
	}
	s.wantForward(here, there)
	for i, packet := range overheard {
		s.f.Bind(nil, packet, relay.Line{Remote: nowhere}, s.now)
		for at := range packet {
			changed := bytes.Clone(packet)
			changed[at] ^= 1 << (at % 8)
			if _, ok := s.f.Bind(nil, changed, relay.Line{Remote: nowhere}, s.now); ok {
				t.Errorf("request %d with byte %d changed is answered", i, at)
			}
			s.f.Bind(nil, packet[:at], relay.Line{Remote: nowhere}, s.now)
		}
	}
	s.wantForward(here, there)
	s.wantForward(there, here)

	other := relay.Key{9}.Grant(session, 0, pair, s.now.Add(time.Minute), relay.Limits{})
	if _, ok := s.f.Bind(nil, relay.NewBinding(other).Tick(s.now), relay.Line{Remote: nowhere}, s.now); ok {
		t.Error("a grant of another relay is answered")
	}
	s.ends[1] = relay.NewBinding(s.key.Grant(session, 2, pair, s.now.Add(time.Minute), relay.Limits{}))
	if s.bind(1, nowhere) {
		t.Error("a third end is bound")
	}
}

func TestGrantExpires(t *testing.T) {
	s := newStage(t, relay.Limits{})
	begun := s.now
	s.bind(0, here)
	s.bind(1, there)
	for range 55 {
		s.now = s.now.Add(10 * time.Second)
		if !s.bind(0, here) {
			t.Fatal("an end is lost before its time")
		}
		s.f.Sweep(s.now)
	}
	s.wantForward(here, there)
	s.now = s.now.Add(time.Minute)
	if s.bind(1, nowhere) {
		t.Error("an end is bound elsewhere after its time")
	}
	s.ends[1].Renew(s.key.Grant(session, 1, pair, s.now.Add(-time.Minute), relay.Limits{}))
	for range 12 * 360 { // where it is it stays, as the signal server may be away
		s.now = s.now.Add(10 * time.Second)
		if s.now.Before(begun.Add(12*time.Hour)) && !(s.bind(0, here) && s.bind(1, there)) {
			t.Fatalf("an end is lost %v after it was bound", s.now.Sub(begun))
		}
		s.f.Sweep(s.now)
	}
	if s.bind(0, here) {
		t.Error("an end is kept for ever")
	}
	for range 20 { // packets do not keep it either
		s.f.Forward(session, here, 100, s.now)
		s.now = s.now.Add(5 * time.Second)
		s.f.Sweep(s.now)
	}
	if s.f.Len() != 0 {
		t.Error("a session outlives its grants")
	}
	for i, from := range []netip.AddrPort{here, there} {
		s.ends[i].Renew(s.key.Grant(session, uint8(i), pair, s.now.Add(time.Minute), relay.Limits{}))
		if !s.bind(i, from) {
			t.Error("a fresh grant is refused")
		}
	}
	s.wantForward(here, there)
}

func TestLimits(t *testing.T) {
	s := newStage(t, relay.Limits{Rate: 1000, Quota: 10})
	s.bind(0, here)
	s.bind(1, there)
	passed := 0
	for range 2000 { // two seconds at 10 MB/s
		s.now = s.now.Add(time.Millisecond)
		if _, ok := s.f.Forward(session, here, 10_000, s.now); ok {
			passed += 10_000
		}
	}
	if passed < 2_000_000 || passed > 2_500_000 {
		t.Errorf("%d bytes passed in 2 s, want about 2 MB", passed)
	}
	for range 20_000 {
		s.now = s.now.Add(time.Millisecond)
		s.f.Sweep(s.now)
		if _, ok := s.f.Forward(session, there, 1000, s.now); ok {
			passed += 1000
		}
	}
	if passed > 10<<20+1000 || passed < 10<<20-1000 {
		t.Errorf("%d bytes passed, want 10 MiB", passed)
	}
}

// A quota is one of two peers for a day: both are told when it is used up, another session
// does not help, and the next day does.
func TestQuota(t *testing.T) {
	limits := relay.Limits{Quota: 1}
	s := newStage(t, limits)
	s.bind(0, here)
	s.bind(1, there)
	if _, _, ok := s.f.Spent(nil, session, 0, s.now); ok {
		t.Error("an end is told before")
	}
	for range 1050 {
		s.f.Forward(session, here, 1000, s.now)
	}
	s.wantForward(here, netip.AddrPort{})
	s.wantForward(there, netip.AddrPort{})
	tomorrow := s.now.Truncate(24 * time.Hour).Add(24 * time.Hour)
	for i, want := range []netip.AddrPort{here, there} {
		told, to, ok := s.f.Spent(nil, session, uint8(i), s.now)
		if !ok || to.Remote != want {
			t.Fatalf("end %d is told at %v, %v", i, to, ok)
		}
		if _, _, again := s.f.Spent(nil, session, uint8(i), s.now); again {
			t.Error("an end is told twice at once")
		}
		told[10]++ // the nonce
		if s.ends[i].Hear(s.now, told) {
			t.Error("who does not know the nonce is believed")
		}
		told[10]--
		if !s.ends[i].Hear(s.now, told) || s.ends[i].Bound() {
			t.Error("the end does not understand")
		}
		if off := s.ends[i].Spent().Sub(tomorrow).Abs(); off > 2*time.Second {
			t.Errorf("the quota is used up until %v, want %v", s.ends[i].Spent(), tomorrow)
		}
		if s.ends[i].Tick(s.now.Add(time.Minute)) != nil {
			t.Error("the end asks all the same")
		}
	}
	s.now = s.now.Add(5 * time.Minute)
	s.f.Sweep(s.now)
	if n := s.f.Len(); n != 0 {
		t.Errorf("%d sessions that are silent are kept", n)
	}
	for _, other := range []struct {
		pair  uint64
		bound bool
	}{{pair, false}, {pair + 1, true}} {
		s.ends[0] = relay.NewBinding(s.key.Grant(session+1, 0, other.pair, s.now.Add(time.Hour), limits))
		if bound := s.bind(0, here); bound != other.bound {
			t.Errorf("pair %x in another session is bound: %v", other.pair, bound)
		}
		if spent := !s.ends[0].Spent().IsZero(); spent == other.bound {
			t.Errorf("pair %x has used up its quota: %v", other.pair, spent)
		}
	}
	s.ends[0].Renew(s.key.Grant(session+1, 0, pair, s.now.Add(time.Hour), relay.Limits{Quota: 2}))
	s.ends[0].Hurry()
	if !s.bind(0, here) {
		t.Error("a quota that was raised does not count")
	}
	s.now = tomorrow
	s.ends[0] = relay.NewBinding(s.key.Grant(session, 0, pair, s.now.Add(time.Hour), limits))
	s.ends[1].Renew(s.key.Grant(session, 1, pair, s.now.Add(time.Hour), limits))
	s.now = s.now.Add(2 * time.Second)
	if !s.bind(0, here) || !s.bind(1, there) {
		t.Fatal("the quota of yesterday is used up today")
	}
	s.wantForward(here, there)
}

// A relay that never knows an end again does not set its pace.
func TestBindingIsChallenged(t *testing.T) {
	now, sent := time.Unix(1e9, 0), 0
	b := relay.NewBinding(relay.Key{}.Grant(session, 0, pair, now.Add(time.Hour), relay.Limits{}))
	for range 60_000 { // a minute
		now = now.Add(time.Millisecond)
		if packet := b.Tick(now); packet != nil {
			sent++
			answer := append([]byte{9, 1}, packet[1:9]...)                            // challenge, session
			answer = append(append(answer, packet[30:38]...), 1, 2, 3, 4, 5, 6, 7, 8) // nonce, cookie
			if !b.Hear(now, answer) {
				t.Fatal("the answer is not understood")
			}
		}
	}
	if sent > 20 {
		t.Errorf("%d requests in a minute", sent)
	}
}

func TestBindingRetries(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := relay.NewBinding(relay.Key{}.Grant(session, 0, pair, now.Add(time.Minute), relay.Limits{}))
	var sent []time.Duration
	for start := now; now.Sub(start) < time.Minute; now = now.Add(50 * time.Millisecond) {
		if b.Tick(now) != nil {
			sent = append(sent, now.Sub(start))
		}
	}
	if len(sent) < 8 || len(sent) > 14 || sent[1] != 100*time.Millisecond {
		t.Errorf("requests at %v", sent)
	}
	b.Hurry()
	if b.Tick(now) == nil {
		t.Error("no request after a change of the network")
	}
}

func TestForwardOnUDPAllocatesNothing(t *testing.T) {
	s := newStage(t, relay.Limits{Rate: 1 << 30})
	s.bind(0, here)
	s.bind(1, there)
	if got := testing.AllocsPerRun(100, func() { s.f.Forward(session, here, 1000, s.now) }); got != 0 {
		t.Errorf("%v allocations for a packet", got)
	}
}

func FuzzBind(f *testing.F) {
	key := relay.Key{1}
	now := time.Unix(1e9, 0)
	f.Add(relay.NewBinding(key.Grant(session, 0, pair, now.Add(time.Minute), relay.Limits{Rate: 7, Quota: 8})).Tick(now))
	f.Add([]byte{8})
	forwarder := relay.NewForwarder(key)
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, ok := forwarder.Bind(nil, b, relay.Line{Remote: here}, now)
		if ok && len(answer) > len(b) {
			t.Errorf("%d bytes answer %d", len(answer), len(b))
		}
		relay.NewBinding(key.Grant(session, 0, pair, now, relay.Limits{})).Hear(now, b)
		if relay.IsPacket(b) {
			if id, packet := relay.SplitPacket(b); !bytes.Equal(append(relay.AppendHeader(nil, id), packet...), b) {
				t.Errorf("%x does not survive", b)
			}
		}
	})
}

// An end is a socket with a binding, for TestServe.
type end struct {
	*net.UDPConn
	b *relay.Binding
}

// bind talks with the server until the end is bound.
func (e end) bind(t testing.TB) {
	t.Helper()
	in := make([]byte, 1500)
	for deadline := time.Now().Add(10 * time.Second); !e.b.Bound(); {
		if time.Now().After(deadline) {
			t.Fatal("not bound")
		}
		if packet := e.b.Tick(time.Now()); packet != nil {
			e.Write(packet)
		}
		e.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := e.Read(in); err == nil {
			e.b.Hear(time.Now(), in[:n])
		}
	}
}

func TestServe(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	key := relay.Key{5}
	server, done := relay.NewServer(key, 100), make(chan error)
	go func() { done <- server.Serve(ctx, conn, nil) }()
	dial := func() *net.UDPConn {
		c, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var ends [2]end
	for i := range ends {
		ends[i] = end{dial(), relay.NewBinding(key.Grant(session, uint8(i), pair, time.Now().Add(time.Minute), relay.Limits{}))}
		ends[i].bind(t)
	}
	// What is malformed, replayed or of others harms nobody and goes nowhere.
	stranger, rnd := dial(), rand.New(rand.NewPCG(1, 2))
	replayed := ends[0].b
	replayed.Hurry()
	request := replayed.Tick(time.Now())
	junk := make([]byte, 200)
	for i := range 100_000 {
		for j := range junk {
			junk[j] = byte(rnd.Uint32())
		}
		junk[0] = byte(i % 16)
		switch i % 4 {
		case 0:
			stranger.Write(relay.AppendHeader(nil, session))
			stranger.Write(append(relay.AppendHeader(nil, session), junk...))
		case 1:
			stranger.Write(request)
		case 2:
			request[rnd.IntN(len(request))] ^= 1
			stranger.Write(request)
		default:
			stranger.Write(junk[:rnd.IntN(len(junk))])
		}
	}
	in := make([]byte, 2000)
	for i, e := range ends {
		other := ends[1-i]
		for n := range 100 {
			packet := append(relay.AppendHeader(nil, session), byte(n), 0x40)
			e.Write(packet)
			other.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, err := other.Read(in)
			if err != nil || !bytes.Equal(in[:got], packet) {
				t.Fatalf("end %d sent %x, the other got %x, %v", i, packet, in[:got], err)
			}
		}
	}
	over := errors.New("over")
	cancel(over)
	if err := <-done; !errors.Is(err, over) {
		t.Errorf("Serve() = %v, want %v", err, over)
	}
}
