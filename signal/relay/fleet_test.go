package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/relay"
)

func TestLoad(t *testing.T) {
	key, other := relay.NewKey([]byte("a")), relay.NewKey([]byte("b"))
	nonce := [8]byte{1}
	addr, stop := serveRelay(t, key, 500)
	defer stop()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := key.AppendAsk(nil, nonce)
	forged := slices.Clone(ask)
	forged[3]++
	for _, bad := range [][]byte{other.AppendAsk(nil, nonce), forged, ask[:len(ask)-1], append(slices.Clone(ask), 0)} {
		conn.Write(bad) // not answered: the first answer is that to what follows
	}
	conn.Write(ask)
	answer := make([]byte, 1500)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if n > len(ask) {
		t.Errorf("an answer of %d bytes to a question of %d", n, len(ask))
	}
	load, clock, ok := key.ParseLoad(answer[:n], nonce)
	if !ok || load != (relay.Load{Capacity: 500}) || time.Since(clock).Abs() > time.Minute {
		t.Errorf("ParseLoad() = %+v, %v, %v", load, clock, ok)
	}
	if _, _, ok := key.ParseLoad(answer[:n], [8]byte{2}); ok {
		t.Error("the answer to another question is accepted")
	}
	if _, _, ok := other.ParseLoad(answer[:n], nonce); ok {
		t.Error("another relay's answer is accepted")
	}
	if free := (relay.Load{Sessions: 10, Rate: 100, Capacity: 120}).Free(); free != -20 {
		t.Errorf("Free() = %d, want -20", free)
	}
}

func FuzzLoad(f *testing.F) {
	key := relay.NewKey(nil)
	f.Add(key.AppendAsk(nil, [8]byte{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, _, ok := key.ParseLoad(b, [8]byte{}); ok {
			t.Errorf("%x was never sent, and says %+v", b, l)
		}
	})
}

// serveRelay runs a relay until stop is called.
func serveRelay(t *testing.T, key relay.Key, capacity uint32) (addr netip.AddrPort, stop func()) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { relay.NewServer(key, capacity).Serve(ctx, conn, nil) })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), func() { cancel(); serving.Wait(); conn.Close() }
}

// A lines is a log that can be waited for.
type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

// TestFleet runs relays with more and less to do, one of which does not answer.
func TestFleet(t *testing.T) {
	var urls []signal.RelayURL
	for i, capacity := range []uint32{10, 1000, 100} {
		key := relay.NewKey([]byte{byte(i)})
		addr, stop := serveRelay(t, key, capacity)
		defer stop()
		urls = append(urls, signal.RelayURL{Addr: addr.String(), Key: key})
	}
	urls = append(urls, signal.RelayURL{Addr: urls[1].Addr}) // with another key
	log := make(lines, 16)
	own := func() relay.Load { return relay.Load{Capacity: 500} }
	fleet := relay.NewFleet(relay.NewKey([]byte("own")), own, urls, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- fleet.Run(ctx) }()
	for range urls {
		select {
		case line := <-log:
			if strings.Contains(line, signal.RelayURL{Key: urls[0].Key}.Text()[len("relay:///"):]) {
				t.Errorf("the log shows a key: %s", line)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was heard of a relay")
		}
	}
	picked := fleet.Pick(time.Now(), nil)
	if got, want := capacities(picked), "1000 500 100"; got != want {
		t.Errorf("picked relays of %s Mbit/s, want %s", got, want)
	}
	least := fleet.Members()[1]
	if got, want := capacities(fleet.Pick(time.Now(), []*relay.Member{least})), "10 1000 500"; got != want {
		t.Errorf("one that has the smallest gets %s, want %s", got, want)
	}
	if got, want := capacities(fleet.Pick(time.Now().Add(time.Minute), picked)), "500"; got != want {
		t.Errorf("after a minute of silence %s, want %s", got, want)
	}
	ip4, ip6 := picked[0].Addrs()
	if ip4.String() != urls[1].Addr || ip6.IsValid() {
		t.Errorf("Addrs() = %v, %v", ip4, ip6)
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Run() = %v", err)
	}
}

func capacities(members []*relay.Member) string {
	var b []string
	for _, m := range members {
		load := m.Status(time.Now()).Load
		b = append(b, fmt.Sprint(load.Capacity))
	}
	return strings.Join(b, " ")
}

// Both ends of a session get the same relays, and keep them.
func TestAssign(t *testing.T) {
	var urls []signal.RelayURL
	for i := range byte(4) {
		key := relay.NewKey([]byte{i})
		addr, stop := serveRelay(t, key, 100)
		defer stop()
		urls = append(urls, signal.RelayURL{Addr: addr.String(), Key: key})
	}
	own := uint32(1)
	log := make(lines, 16)
	fleet := relay.NewFleet(relay.Key{}, func() relay.Load { return relay.Load{Capacity: own} }, urls, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- fleet.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range urls {
		<-log // it answers
	}
	var table relay.Table
	a, b, now := signal.PeerID{1}, signal.PeerID{2}, time.Now()
	if got := table.Assign(7, fleet, nil, now); got != nil {
		t.Errorf("a session that nobody has bound gets %v", got)
	}
	table.Bind(7, a, b, now)
	first := table.Assign(7, fleet, nil, now)
	own = 1000 // which is now the best
	table.Bind(7, b, a, now)
	if second := table.Assign(7, fleet, nil, now); len(first) != 3 || !slices.Equal(first, second) {
		t.Errorf("one end gets %s, the other %s", capacities(first), capacities(second))
	}
	table.Bind(8, a, b, now)
	if other := table.Assign(8, fleet, nil, now); capacities(other) != "1000 100 100" {
		t.Errorf("a new session gets %s, want the best first", capacities(other))
	}
}

// A signal server that has been restarted gives a session the relays that it had, and
// none while it does not know yet what they are.
func TestAssignAfterARestart(t *testing.T) {
	var urls []signal.RelayURL
	var where []string
	for i := range byte(4) {
		key := relay.NewKey([]byte{i})
		addr, stop := serveRelay(t, key, 100+uint32(i))
		defer stop()
		urls = append(urls, signal.RelayURL{Addr: addr.String(), Key: key})
		where = append(where, addr.String())
	}
	gone := signal.RelayURL{Addr: urls[0].Addr, Key: [32]byte{9}} // it does not answer to this key
	urls[0] = gone
	log := make(lines, 16)
	fleet := relay.NewFleet(relay.Key{}, func() relay.Load { return relay.Load{Capacity: 1} }, urls, slog.New(slog.NewTextHandler(log, nil)))
	var table relay.Table
	table.Bind(7, signal.PeerID{1}, signal.PeerID{2}, time.Now())
	assign := func(had ...string) string { return capacities(table.Assign(7, fleet, had, time.Now())) }
	if got := assign(where[1]); got != "" {
		t.Errorf("before the relays have been asked a session gets %s", got)
	}
	if got := assign(""); got != "1" {
		t.Errorf("the server's own relay is not known: a session gets %s", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- fleet.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range urls {
		<-log // it answers, or does not
	}
	for i, test := range []struct {
		had  []string
		want string
	}{
		{nil, "103 102 101"},
		{[]string{where[1], ""}, "101 1 103"},
		{[]string{where[0], where[1], where[1]}, "101 103 102"}, // one is away
		{[]string{"192.0.2.1:7443", "nonsense", where[2]}, "102 103 101"},
	} {
		id := uint64(100 + i)
		table.Bind(id, signal.PeerID{1}, signal.PeerID{2}, time.Now())
		if got := capacities(table.Assign(id, fleet, test.had, time.Now())); got != test.want {
			t.Errorf("a session that had %q gets %s, want %s", test.had, got, test.want)
		}
		if again := capacities(table.Assign(id, fleet, where[3:], time.Now())); again != test.want {
			t.Errorf("what the other end says changes %s to %s", test.want, again)
		}
	}
}
