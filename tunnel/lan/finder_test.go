package lan

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"peerway/signal"
)

// newNeighbours runs a Neighbours with a socket of its own until the test ends.
func newNeighbours(t *testing.T, allowed func(signal.PeerID) bool, take func(signal.PeerID, []byte, netip.AddrPort)) (*Neighbours, signal.PeerID, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp", nil) // whatever address of this machine the question comes from
	if err != nil {
		t.Fatal(err)
	}
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	identity := signal.NewIdentity()
	n := New(Config{
		Identity: identity, Port: at.Port(), Loopback: true, Allowed: allowed, Take: take,
		Write: func(packet []byte, to netip.AddrPort) error {
			_, err := conn.WriteToUDPAddrPort(packet, to)
			return err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	running.Go(func() {
		buffer := make([]byte, 2000)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if IsPacket(buffer[:size]) {
				n.Deliver(buffer[:size], from)
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		conn.Close()
		running.Wait()
	})
	listens(t, n)
	return n, identity.PeerID(), at
}

// listens waits until n has its multicast socket.
func listens(t *testing.T, n *Neighbours) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; <-tick.C {
		if _, open := n.finder.networks(); len(open) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Skip("there is no multicast here")
		}
	}
}

func anybody(signal.PeerID) bool { return true }

func TestNeighbours(t *testing.T) {
	type taken struct {
		from    signal.PeerID
		message string
		at      netip.AddrPort
	}
	inbox := make(chan taken, 16)
	a, aID, aAt := newNeighbours(t, anybody, nil)
	b, bID, bAt := newNeighbours(t, func(id signal.PeerID) bool { return id == aID }, func(from signal.PeerID, m []byte, at netip.AddrPort) {
		inbox <- taken{from, string(m), at}
	})
	at, err := a.Send(t.Context(), bID, []byte("hello"), netip.AddrPort{})
	if err != nil || at.Port() != bAt.Port() {
		t.Fatalf("Send() = %v, %v; want port %d", at, err, bAt.Port())
	}
	if got := <-inbox; got.from != aID || got.message != "hello" || got.at.Port() != aAt.Port() {
		t.Errorf("b has %+v", got)
	}
	if again, err := a.Send(t.Context(), bID, []byte("again"), at); again != at || err != nil {
		t.Errorf("Send() = %v, %v; want %v", again, err, at)
	}

	begun := time.Now()
	if _, err := a.Send(t.Context(), signal.NewIdentity().PeerID(), []byte("hello"), netip.AddrPort{}); err != ErrNobody {
		t.Errorf("to nobody: %v", err)
	}
	if took := time.Since(begun); took < searchFor {
		t.Errorf("it took %v, want %v: a question may be lost", took, searchFor)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Send(ctx, signal.NewIdentity().PeerID(), []byte("hello"), netip.AddrPort{}); err != context.Canceled {
		t.Errorf("cut off: %v", err)
	}

	b.NetworkChanged() // all is opened anew
	if _, err := a.Send(t.Context(), bID, []byte("after"), netip.AddrPort{}); err != nil {
		t.Errorf("after a change of networks: %v", err)
	}
	if len(a.finder.searches) != 0 {
		t.Errorf("%d searches are left", len(a.finder.searches))
	}
}

// TestWhoAnswers asks as a stranger would.
func TestWhoAnswers(t *testing.T) {
	_, id, at := newNeighbours(t, anybody, nil)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(name string, kind dnsmessage.Type) {
		packet := pack(t, dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
		})
		c := &channel{conn: conn}
		if err := c.join(group4(), loopbackLinks(t)); err != nil {
			t.Skip(err)
		}
		c.say(&loopbackLinks(t)[0], packet)
	}
	// The last one only is answered, so that nothing needs to be waited for in vain.
	ask("_services._dns-sd._udp.local.", dnsmessage.TypePTR)
	ask(service[1:], dnsmessage.TypePTR)
	ask(service[1:], dnsmessage.TypeALL)
	ask(newName(signal.NewIdentity().PeerID(), time.Now())+service, dnsmessage.TypeSRV)
	name := newName(id, time.Now())
	ask(name+service, dnsmessage.TypeSRV)
	buffer := make([]byte, maxDNS)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse(buffer[:n])
	if err != nil || h.id != 7 || !slices.Equal(h.found, []found{{name, at.Port()}}) || from.Port() != port {
		t.Errorf("%v says %+v, %v", from, h, err)
	}
}

func loopbackLinks(t *testing.T) links {
	t.Helper()
	on, err := lookAround(true)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(on, func(l link) bool { return l.device.Flags&net.FlagLoopback == 0 })
}

// TestAnswersAreLimited asks more often than anybody needs to.
func TestAnswersAreLimited(t *testing.T) {
	n, id, _ := newNeighbours(t, anybody, nil)
	f := n.finder
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	c := &channel{conn: conn}
	const questions = 1000
	for range questions {
		packet, err := makeQuestion(newName(id, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		f.hear(c, packet, to)
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	answers := 0
	for buffer := make([]byte, maxDNS); ; answers++ {
		if _, err := conn.Read(buffer); err != nil {
			break
		}
	}
	if answers == 0 || answers > questions/4 {
		t.Errorf("%d questions get %d answers", questions, answers)
	}
}

// TestNoNetwork runs where there is none, as a laptop that wakes up.
func TestNoNetwork(t *testing.T) {
	f := newFinder(signal.PeerID{1}, 1, false, nil)
	if _, ok := f.local(netip.MustParseAddrPort("10.0.0.1:1")); ok {
		t.Error("an address is local without a network")
	}
	f.find(t.Context(), signal.PeerID{2}, func(at netip.AddrPort) { t.Errorf("found at %v", at) })
}
