package integration_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"peerway/integration/natlab"
	"peerway/signal"
)

// The first byte of what package lan says from path socket to path socket.
const (
	lanLetter    = 10
	lanAck       = 11
	lanChallenge = 14
)

// A liar is a host that does all it can about introductions in its network. It answers
// questions with lies and with copies of what others have answered, so that letters come to
// it too, tells all who write to it that it has opened them, and repeats what it has heard.
type liar struct {
	t    *testing.T
	host *natlab.Host
	dns  *net.UDPConn

	reading sync.WaitGroup

	mu      sync.Mutex
	paths   map[uint16]*net.UDPConn // sockets at the ports that others have
	peer    netip.AddrPort          // who has answered last
	heard   [][]byte                // all packets
	letters [][]byte
	asked   int
	closed  bool
}

func newLiar(t *testing.T, host *natlab.Host) *liar {
	t.Helper()
	l := &liar{t: t, host: host, paths: make(map[uint16]*net.UDPConn)}
	err := host.Do(func() (err error) {
		interfaces, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range interfaces {
			if i.Flags&net.FlagLoopback == 0 {
				l.dns, err = net.ListenMulticastUDP("udp4", &i, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
				return err
			}
		}
		return errors.New("no interface")
	})
	if err != nil {
		t.Fatal(err)
	}
	l.read(l.dns, l.overhear)
	t.Cleanup(l.close)
	return l
}

func (l *liar) close() {
	l.dns.Close()
	l.mu.Lock()
	l.closed = true
	for _, path := range l.paths {
		path.Close()
	}
	l.mu.Unlock()
	l.reading.Wait()
}

// read calls take for each packet until the socket is closed.
func (l *liar) read(conn *net.UDPConn, take func(packet []byte, from netip.AddrPort)) {
	l.reading.Go(func() {
		for buffer := make([]byte, 9000); ; {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || from.Addr() == l.host.Addr() {
				continue
			}
			l.mu.Lock()
			if len(l.heard) < 10_000 {
				l.heard = append(l.heard, bytes.Clone(buffer[:n]))
			}
			l.mu.Unlock()
			take(buffer[:n], from)
		}
	})
}

// say sends a packet; an error is a lost packet.
func say(conn *net.UDPConn, packet []byte, to netip.AddrPort) {
	_, _ = conn.WriteToUDPAddrPort(packet, to)
}

// overhear acts on what is said by multicast DNS.
func (l *liar) overhear(packet []byte, from netip.AddrPort) {
	group := netip.MustParseAddrPort("224.0.0.251:5353")
	var m dnsmessage.Message
	if m.Unpack(packet) != nil {
		return
	}
	for _, q := range m.Questions {
		l.mu.Lock()
		l.asked++
		l.mu.Unlock()
		for lie := range uint16(32) {
			answer := dnsmessage.Message{
				Header: dnsmessage.Header{Response: true, Authoritative: true},
				Answers: []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 10},
					Body:   &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("liar.local."), Port: 1 + lie},
				}},
			}
			b, err := answer.Pack()
			if err != nil {
				continue
			}
			say(l.dns, b, group)
			say(l.dns, b[:len(b)-int(lie)], group)
			say(l.dns, append(b, make([]byte, 100*lie)...), group)
		}
		say(l.dns, packet, group) // asks again
	}
	for _, r := range m.Answers {
		if srv, ok := r.Body.(*dnsmessage.SRVResource); ok && !strings.HasPrefix(srv.Target.String(), "liar") {
			l.impersonate(netip.AddrPortFrom(from.Addr(), srv.Port))
			say(l.dns, packet, group)
		}
	}
}

// impersonate listens at the port that a peer has said to listen at.
func (l *liar) impersonate(peer netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peer = peer
	if l.closed || l.paths[peer.Port()] != nil {
		return
	}
	err := l.host.Do(func() error {
		path, err := net.ListenUDP("udp4", &net.UDPAddr{IP: l.host.Addr().AsSlice(), Port: int(peer.Port())})
		if err != nil {
			return err
		}
		l.paths[peer.Port()] = path
		l.read(path, func(packet []byte, from netip.AddrPort) { l.disturb(path, packet, from) })
		return nil
	})
	if err != nil {
		l.t.Error(err)
	}
}

// disturb acts on what comes to a path socket.
func (l *liar) disturb(path *net.UDPConn, packet []byte, from netip.AddrPort) {
	if packet[0] != lanLetter {
		return
	}
	l.mu.Lock()
	peer := l.peer
	if len(l.letters) < 100 {
		l.letters = append(l.letters, bytes.Clone(packet))
	}
	letters := l.letters
	l.mu.Unlock()
	for range 20 {
		ack, challenge := make([]byte, 17), make([]byte, 49)
		rand.Read(ack)
		rand.Read(challenge)
		ack[0], challenge[0] = lanAck, lanChallenge
		copy(challenge[1:17], packet[len(packet)-17:]) // whatever the letter shows
		say(path, ack, from)
		say(path, challenge, from)
	}
	for _, letter := range letters { // at whom it was meant for, and at whom it came from
		for _, to := range []netip.AddrPort{peer, from} {
			say(path, letter, to)
			say(path, letter[:len(letter)/2], to)
			say(path, append(bytes.Clone(letter), 0), to)
			broken := bytes.Clone(letter)
			broken[len(broken)-1] ^= 1
			say(path, broken, to)
		}
	}
}

// repeat sends letters to a peer again.
func (l *liar) repeat(letters [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range 100 {
		for _, letter := range letters {
			say(l.paths[l.peer.Port()], letter, l.peer)
		}
	}
}

func (l *liar) got() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.letters)
}

// takeLetters returns the letters that came so far, and forgets them.
func (l *liar) takeLetters() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	letters := l.letters
	l.letters = nil
	return letters
}

// knows reports whether something is in what the liar has heard.
func (l *liar) knows(secret []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, packet := range l.heard {
		if bytes.Contains(packet, secret) {
			return true
		}
	}
	return false
}

// wantLetters is how many letters the liar should have got.
const wantLetters = 3

// TestLyingNeighbour lets two meet without a signal server while somebody does all they can
// against it.
func TestLyingNeighbour(t *testing.T) {
	v := newVicinity(t)
	secrets := map[string][]byte{"what ICE says": []byte("typ host")}
	for _, r := range []*role{v.peer, v.gateway} {
		s := r.status()
		id, err := signal.ParsePeerID(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		secrets["the id of "+s.Name], secrets["the text of the id of "+s.Name] = id[:], []byte(s.ID)
	}
	v.server.kill()
	v.restartGateway()
	v.wantPage("before")
	v.gateway.stop(syscall.SIGINT)
	v.peer.waitNoTunnels(patience)
	memory, footprint := resident(t, v.peer.process), v.peer.footprint()

	l := newLiar(t, v.Host())
	v.gateway = startRole(t, v.beside, v.gateway.state, "connect", "-v")
	v.gateway.waitRunning(v.beside)
	for i := 0; i < 5 || l.got() < wantLetters && i < 20; i++ { // not each time the liar is fast enough
		v.wantPage(fmt.Sprintf("beside a liar, %d", i))
		v.restartGateway()
	}
	v.gateway.stop(syscall.SIGINT)
	v.peer.waitNoTunnels(patience)
	old := l.takeLetters()
	l.repeat(old)
	v.peer.waitFootprint(patience, footprint)
	after := resident(t, v.peer.process)
	t.Logf("the peer's memory is %d kB before and %d kB after", memory>>10, after>>10)
	if after > memory+16<<20 {
		t.Errorf("the peer's memory went from %d to %d bytes", memory, after)
	}

	// Old letters do nothing to another life of the peer: it answers new ones as before.
	v.restartPeer()
	answered := func(why string) int {
		v.gateway = startRole(t, v.beside, v.gateway.state, "connect", "-v")
		v.gateway.waitRunning(v.beside)
		v.wantPage(why)
		v.gateway.stop(syscall.SIGINT)
		v.peer.waitNoTunnels(patience)
		n, _ := v.peer.err.count(func(line string) bool { return strings.Contains(line, "checks begin") })
		return n
	}
	once := answered("a new peer beside a liar")
	l.repeat(old)
	if twice := answered("after old letters"); twice > 2*once {
		t.Errorf("%d introductions are answered, of which two were made", twice)
	}
	l.close()
	if l.asked == 0 || len(old) < wantLetters {
		t.Errorf("the liar heard %d questions and got %d letters, want more", l.asked, len(old))
	}
	t.Logf("the liar heard %d questions, %d packets, and got %d letters", l.asked, len(l.heard), len(old))
	for what, secret := range secrets {
		if l.knows(secret) {
			t.Errorf("the liar knows %s", what)
		}
	}
}
