package punch_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"peerway/integration/leak"
	"peerway/tunnel/punch"

	"github.com/pion/stun/v3"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A network carries packets between punchers in memory, after a delay.
type network struct {
	delay time.Duration

	mu      sync.Mutex
	cut     bool
	tap     func(packet []byte) // sees what hosts send
	tapTo   func(netip.AddrPort)
	nodes   []*node
	servers map[netip.AddrPort]int // STUN servers, with the packets that each got
	drops   map[netip.AddrPort]int // packets that a server leaves unanswered first
}

// A node is a host with one socket. With a box it is behind a NAT.
type node struct {
	network *network
	addr    netip.AddrPort
	box     *box
	*punch.Puncher
}

type natKind int

const (
	open           natKind = iota // no NAT
	fullCone                      // one mapping, anybody may answer
	portRestricted                // one mapping, only who was asked may answer
	symmetric                     // a mapping for each destination
)

// A box is a NAT with one host behind it.
type box struct {
	kind     natKind
	outside  netip.Addr
	next     uint16
	mappings map[netip.AddrPort]uint16              // by destination; the zero one if there is one mapping
	asked    map[uint16]map[netip.AddrPort]struct{} // by port, who may answer
}

func newNetwork(delay time.Duration) *network {
	return &network{delay: delay, servers: make(map[netip.AddrPort]int), drops: make(map[netip.AddrPort]int)}
}

// host adds a host with an address of its own, or behind a NAT with outside as
// the outer address.
func (n *network) host(addr string, kind natKind, outside string) *node {
	h := &node{network: n, addr: netip.MustParseAddrPort(addr)}
	if kind != open {
		h.box = &box{
			kind: kind, outside: netip.MustParseAddr(outside), next: 40000,
			mappings: make(map[netip.AddrPort]uint16), asked: make(map[uint16]map[netip.AddrPort]struct{}),
		}
	}
	h.Puncher = punch.New(punch.Config{
		Write:      h.write,
		Port:       h.addr.Port(),
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{h.addr.Addr()}, nil },
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = append(n.nodes, h)
	return h
}

func (n *network) server(addr string) netip.AddrPort {
	a := netip.MustParseAddrPort(addr)
	n.servers[a] = 0
	return a
}

func (n *network) setCut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

// setTap shows f what hosts send. It is called under the lock of the network.
func (n *network) setTap(f func(packet []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = f
}

// out returns the address that a packet to a destination seems to come from.
func (b *box) out(to netip.AddrPort) netip.AddrPort {
	key := netip.AddrPort{}
	if b.kind == symmetric {
		key = to
	}
	port, ok := b.mappings[key]
	if !ok {
		b.next += 7
		port = b.next
		b.mappings[key] = port
		b.asked[port] = make(map[netip.AddrPort]struct{})
	}
	b.asked[port][to] = struct{}{}
	return netip.AddrPortFrom(b.outside, port)
}

// in reports whether a packet may pass to the host.
func (b *box) in(port uint16, from netip.AddrPort) bool {
	asked, ok := b.asked[port]
	if !ok || b.kind == fullCone {
		return ok
	}
	_, ok = asked[from]
	return ok
}

// write is the socket of a node.
func (h *node) write(p []byte, to netip.AddrPort) error {
	packet := append([]byte(nil), p...)
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	from := h.addr
	if h.box != nil {
		from = h.box.out(to)
	}
	if n.tap != nil {
		n.tap(packet)
	}
	if n.tapTo != nil {
		n.tapTo(to)
	}
	if !n.cut {
		time.AfterFunc(n.delay, func() { n.arrive(packet, from, to) })
	}
	return nil
}

func (n *network) arrive(packet []byte, from, to netip.AddrPort) {
	n.mu.Lock()
	if n.cut {
		n.mu.Unlock()
		return
	}
	if _, ok := n.servers[to]; ok {
		n.servers[to]++
		answer := n.servers[to] > n.drops[to]
		n.mu.Unlock()
		if answer {
			n.answer(packet, from, to)
		}
		return
	}
	var receiver *node
	for _, h := range n.nodes {
		if h.box == nil && h.addr == to ||
			h.box != nil && h.box.outside == to.Addr() && h.box.in(to.Port(), from) {
			receiver = h
		}
	}
	n.mu.Unlock()
	if receiver != nil {
		receiver.Deliver(packet, from)
	}
}

// answer is a STUN server.
func (n *network) answer(packet []byte, client, server netip.AddrPort) {
	request := &stun.Message{Raw: packet}
	if request.Decode() != nil {
		return
	}
	response := stun.MustBuild(request, stun.BindingSuccess,
		&stun.XORMappedAddress{IP: client.Addr().AsSlice(), Port: int(client.Port())})
	time.AfterFunc(n.delay, func() { n.arrive(response.Raw, server, client) })
}
