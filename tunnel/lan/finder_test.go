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
	"golang.org/x/net/ipv4"

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
	ask(testName(t)+service, dnsmessage.TypeSRV)
	alice := signal.NewIdentity()
	n, name := newName(alice.PeerID(), id, correspond(t, alice, id), time.Now())
	ask(name+service, dnsmessage.TypeSRV)
	ask(name+service, dnsmessage.TypeSRV) // overheard
	buffer := make([]byte, maxDNS)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	size, from, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse(buffer[:size])
	host := hostOf(&correspond(t, alice, id).in, n.nonce, at.Port())
	if err != nil || h.id != 7 || !slices.Equal(h.found, []found{{name, at.Port(), host}}) || from.Port() != port {
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

// A crowd is a finder and those who ask for it, in no network.
type crowd struct {
	*finder
	t    *testing.T
	eth0 *link
	now  time.Time
}

func newCrowd(t *testing.T, allowed func(signal.PeerID) bool) *crowd {
	t.Helper()
	cfg := Config{Identity: signal.NewIdentity(), Port: 1, Allowed: allowed}
	eth0 := &link{device: net.Interface{Index: 2, Name: "eth0"}}
	return &crowd{newFinder(cfg, newCorrespondents(cfg.Identity)), t, eth0, time.Unix(1e9, 0)}
}

// name returns a new name by which somebody asks for the finder, pretending to be another.
func (c *crowd) name(by signal.Identity, as signal.PeerID) string {
	c.t.Helper()
	_, text := newName(as, c.me, correspond(c.t, by, c.me), c.now)
	return text
}

// asks reports whether a question is answered, by IPv6.
func (c *crowd) asks(text string) bool {
	_, ok := c.admit(&channel{}, c.eth0, text, c.now)
	return ok
}

// TestQuestionsOfMany lets a question be answered beside all that a network can be full of:
// what strangers make up or have overheard, and what a paired peer says.
func TestQuestionsOfMany(t *testing.T) {
	alice, friend, eve := signal.NewIdentity(), signal.NewIdentity(), signal.NewIdentity()
	c := newCrowd(t, func(id signal.PeerID) bool { return id == alice.PeerID() || id == friend.PeerID() })
	overheard := make([]string, 100)
	for i := range overheard {
		overheard[i] = c.name(alice, alice.PeerID())
		if i < answerBurst && !c.asks(overheard[i]) {
			t.Errorf("question %d of a peer is not answered", i)
		}
		c.asks(overheard[i])
	}
	c.now = c.now.Add(time.Minute)
	forged := c.name(eve, alice.PeerID())
	said, floods := 0, 10
	for range floods {
		c.now = c.now.Add(time.Second)
		for i := range 1000 {
			for _, text := range []string{forged, overheard[i%len(overheard)], "a.b", ""} {
				if c.asks(text) {
					t.Fatalf("%q is answered", text)
				}
			}
		}
		for range 4 * answerBurst {
			if c.asks(c.name(friend, friend.PeerID())) {
				said++
			}
		}
		if !c.asks(c.name(alice, alice.PeerID())) {
			t.Error("a question is not answered beside a flood")
		}
	}
	if most := answerBurst + floods*answerRate; said > most {
		t.Errorf("a peer gets %d answers, want %d at most", said, most)
	}
	if len(c.peers.known) != 2 {
		t.Errorf("%d peers are remembered, want 2", len(c.peers.known))
	}
}

// TestQuestionsByManyWays lets one question come by several networks.
func TestQuestionsByManyWays(t *testing.T) {
	alice := signal.NewIdentity()
	c := newCrowd(t, anybody)
	text := c.name(alice, alice.PeerID())
	for _, on := range []*link{c.eth0, {device: net.Interface{Index: 3}}} {
		for _, by := range []*channel{{}, {v4: new(ipv4.PacketConn)}} {
			if _, ok := c.admit(by, on, text, c.now); !ok {
				t.Error("a question is answered by one way only")
			}
		}
	}
}

// TestLiars lets others answer a question.
func TestLiars(t *testing.T) {
	alice, bob := signal.NewIdentity(), signal.NewIdentity()
	cfg := Config{Identity: alice}
	f := newFinder(cfg, newCorrespondents(alice))
	toBob := correspond(t, alice, bob.PeerID())
	n, text := newName(alice.PeerID(), bob.PeerID(), toBob, time.Now())
	hits := make(chan netip.AddrPort, 1)
	f.searches[text] = search{n, toBob, hits}
	at := netip.MustParseAddr("10.0.0.66")
	host := hostOf(&toBob.in, n.nonce, 4711)
	f.tell(found{text, 4711, "host"}, at)
	f.tell(found{text, 4712, host}, at)
	f.tell(found{text, 4711, hostOf(&toBob.out, n.nonce, 4711)}, at)
	f.tell(found{text, 4711, hostOf(&toBob.in, [nonceSize]byte{}, 4711)}, at)
	f.tell(found{"another", 4711, host}, at)
	if len(hits) != 0 {
		t.Errorf("%v is believed", <-hits)
	}
	f.tell(found{text, 4711, host}, at)
	f.tell(found{text, 4711, host}, at) // nobody is waited for
	if len(hits) != 1 {
		t.Error("the peer is not believed")
	}
}

// TestNoNetwork runs where there is none, as a laptop that wakes up.
func TestNoNetwork(t *testing.T) {
	cfg := Config{Identity: signal.NewIdentity()}
	f := newFinder(cfg, newCorrespondents(cfg.Identity))
	if _, ok := f.local(netip.MustParseAddrPort("10.0.0.1:1")); ok {
		t.Error("an address is local without a network")
	}
	f.find(t.Context(), signal.NewIdentity().PeerID(), func(at netip.AddrPort) { t.Errorf("found at %v", at) })
}
