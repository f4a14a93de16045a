package pathsock

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	discardPrefix = 0x0100 << 48 // 100::/64, the discard prefix of RFC 6666
	localID       = 1            // the socket's own fictitious address
	peerPort      = 1            // QUIC wants a port; any will do
)

// fictitious returns the address 100::id. No packet can ever leave for it: the
// prefix is routed nowhere.
func fictitious(id uint64, port int) *net.UDPAddr {
	ip := make(net.IP, net.IPv6len)
	binary.BigEndian.PutUint64(ip, discardPrefix)
	binary.BigEndian.PutUint64(ip[8:], id)
	return &net.UDPAddr{IP: ip, Port: port}
}

// fictitiousID returns the id in a fictitious address, or false for a real one.
func fictitiousID(addr *net.UDPAddr) (id uint64, ok bool) {
	if addr == nil || len(addr.IP) != net.IPv6len || binary.BigEndian.Uint64(addr.IP) != discardPrefix {
		return 0, false
	}
	return binary.BigEndian.Uint64(addr.IP[8:]), true
}

// tables finds peers by either of their addresses. Lookups take no lock:
// every change makes new maps, which is rare and small.
type tables struct {
	mu       sync.Mutex // serializes changes
	last     uint64     // the newest id
	byID     atomic.Pointer[map[uint64]*Peer]
	sessions atomic.Pointer[map[uint64]*Peer]
	sources  atomic.Pointer[map[netip.AddrPort]*Peer]
}

// add gives p its address.
func (t *tables) add(p *Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, localID) + 1
	p.id, p.addr = t.last, fictitious(t.last, peerPort)
	change(&t.byID, func(m map[uint64]*Peer) { m[p.id] = p })
	change(&t.sessions, func(m map[uint64]*Peer) { m[p.session] = p })
}

// remove forgets p and all that it has authenticated.
func (t *tables) remove(p *Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.byID, func(m map[uint64]*Peer) { delete(m, p.id) })
	if t.session(p.session) == p {
		change(&t.sessions, func(m map[uint64]*Peer) { delete(m, p.session) })
	}
	change(&t.sources, func(m map[netip.AddrPort]*Peer) {
		maps.DeleteFunc(m, func(_ netip.AddrPort, owner *Peer) bool { return owner == p })
	})
}

// authenticate makes source p's, whoever had it before. A peer that is no
// longer in the table gets nothing.
func (t *tables) authenticate(p *Peer, source netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peer(p.id) == p {
		change(&t.sources, func(m map[netip.AddrPort]*Peer) { m[source] = p })
	}
}

// forget undoes authenticate, unless source has become another peer's.
func (t *tables) forget(p *Peer, source netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.source(source) == p {
		change(&t.sources, func(m map[netip.AddrPort]*Peer) { delete(m, source) })
	}
}

// peer returns the peer with a fictitious address, or nil.
func (t *tables) peer(id uint64) *Peer { return lookup(&t.byID, id) }

// source returns the peer that a real address was authenticated for, or nil.
func (t *tables) source(a netip.AddrPort) *Peer { return lookup(&t.sources, a) }

// session returns the peer whose packets have that session's number at relays, or nil.
func (t *tables) session(id uint64) *Peer { return lookup(&t.sessions, id) }

func lookup[K comparable](m *atomic.Pointer[map[K]*Peer], key K) *Peer {
	if now := m.Load(); now != nil {
		return (*now)[key]
	}
	return nil
}

// change replaces a map by an edited copy of it.
func change[K comparable](m *atomic.Pointer[map[K]*Peer], edit func(map[K]*Peer)) {
	next := map[K]*Peer{}
	if now := m.Load(); now != nil {
		maps.Copy(next, *now)
	}
	edit(next)
	m.Store(&next)
}
