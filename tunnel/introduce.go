package tunnel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"peerway/signal"
	"peerway/tunnel/network"
)

// This file is the Manager's side towards the signal client.

// Connected tells the Manager that the signal server answers at server, and perhaps at
// another address with the other version of IP.
func (m *Manager) Connected(server, other netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected = true
	known := m.server == server && m.other == other
	if m.server, m.other = server, other; !known || m.nat == (network.NAT{}) {
		m.askNAT()
	}
	if m.opening != nil {
		m.opening.look()
	}
}

// Disconnected tells the Manager that there is no signal server. Tunnels go on.
func (m *Manager) Disconnected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected = false
}

// Presence tells the Manager what the server knows of a peer. A peer that is
// offline keeps its tunnel while it is heard. If its process is another one, the
// next stream gets a tunnel of its own, and the old one ends when it is silent.
func (m *Manager) Presence(p signal.Presence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.peers[p.Peer]
	if sl == nil || sl.up == nil {
		return
	}
	sl.up.offline.Store(!p.Online)
	if !p.Online || p.Instance == 0 {
		return
	}
	if known := sl.up.instance.Load(); known != 0 && known != p.Instance {
		// The server may be lying, so live streams go on while the peer is heard.
		sl.up.doubted.Store(true)
		sl.up.drain(errReplaced)
		sl.up = nil
	}
}

// Relayed takes a packet of a session that came over the relay. It copies packet.
func (m *Manager) Relayed(id uint64, packet []byte) {
	if s, ok := m.routes.Load(id); ok {
		s.(*session).route.Inject(packet)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.early.keep(id, packet, time.Now())
}

// Deliver takes a sealed message that came through the signal server.
func (m *Manager) Deliver(from signal.PeerID, sealed []byte) {
	if !m.cfg.Allowed(from) {
		m.log.Debug("message of a peer that is not paired", "peer", from)
		return
	}
	plain, err := m.cfg.Identity.Open(from, sealed)
	if err != nil {
		m.log.Warn("message dropped", "peer", from, "err", err)
		return
	}
	m.take(from, plain, netip.AddrPort{})
}

// take takes a message of a peer. If at is valid it came from there, through the local
// network.
func (m *Manager) take(from signal.PeerID, plain []byte, at netip.AddrPort) {
	msg, err := decodeMessage(plain)
	if err != nil {
		m.log.Warn("message dropped", "peer", from, "err", err)
		return
	}
	if msg.Kind == offer {
		m.offered(from, msg, at)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sl := m.peers[from]
	if sl == nil {
		return
	}
	switch {
	case sl.pending != nil && sl.pending.id == msg.Session:
		sl.pending.meet(at)
		sl.pending.receive(msg)
	case sl.up != nil && sl.up.id == msg.Session && (msg.Kind == answer || msg.Kind == candidates):
		// Said just before the tunnel was up. All else comes over it, where the
		// server cannot repeat it.
		sl.up.receive(msg)
	}
}

// offered answers an offer with a session, or settles who gives way when both
// peers dialed at once: the one whose id is smaller. at is where the answer goes if it
// cannot go through the signal server; the zero value: not known.
func (m *Manager) offered(from signal.PeerID, msg message, at netip.AddrPort) {
	if msg.Session == 0 || msg.Punch == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == nil {
		return
	}
	sl := m.slot(from)
	if p := sl.pending; p != nil {
		if p.id == msg.Session {
			p.meet(at)
			return // a repetition
		}
		me := m.cfg.Identity.PeerID()
		if p.role == dialing && bytes.Compare(me[:], from[:]) > 0 {
			m.log.Debug("both dialed at once: the peer gives way", "peer", from)
			return
		}
	}
	if sl.up != nil && sl.up.id == msg.Session || !m.offers.add(msg.Session) {
		return // a repetition: nothing may be replayed, neither into a live tunnel nor against one
	}
	s := newSession(m, from, msg.Session, answering)
	s.instance.Store(msg.Instance)
	s.meet(at)
	s.receive(msg)
	if err := m.start(sl, s); err != nil {
		return
	}
	for _, packet := range m.early.take(s.id) {
		s.route.Inject(packet)
	}
}

// recentOffers are the sessions that were offered last: an offer that is told again would
// otherwise make this end give up a dial of its own. A restart forgets them, and offers have
// no date, because not all clocks are right: in a local network, cookies keep out what is old
// (see package lan), and a signal server that repeats an offer gains nothing but what it
// can do anyway, which is to hinder the introduction of that moment.
type recentOffers struct {
	ids  [1024]uint64
	next int
}

// add remembers an offer. It reports false if it is not a new one.
func (r *recentOffers) add(id uint64) bool {
	if slices.Contains(r.ids[:], id) {
		return false
	}
	r.ids[r.next] = id
	r.next = (r.next + 1) % len(r.ids)
	return true
}

// earlyPackets keeps the few packets that overtake the offer they belong to.
// What nobody asks for is forgotten: the limits are all it can cost.
type earlyPackets struct {
	sessions []earlySession // oldest first
}

type earlySession struct {
	id      uint64
	at      time.Time
	packets [][]byte
}

const (
	earlySessions = 16
	earlyEach     = 8
	earlyFor      = 2 * time.Second
)

func (e *earlyPackets) keep(id uint64, packet []byte, now time.Time) {
	for len(e.sessions) > 0 && now.Sub(e.sessions[0].at) > earlyFor {
		e.sessions = e.sessions[1:]
	}
	for i := range e.sessions {
		if s := &e.sessions[i]; s.id == id {
			if len(s.packets) < earlyEach {
				s.packets = append(s.packets, bytes.Clone(packet))
			}
			return
		}
	}
	if len(e.sessions) < earlySessions {
		e.sessions = append(e.sessions, earlySession{id: id, at: now, packets: [][]byte{bytes.Clone(packet)}})
	}
}

func (e *earlyPackets) take(id uint64) [][]byte {
	for i, s := range e.sessions {
		if s.id == id {
			e.sessions = append(e.sessions[:i:i], e.sessions[i+1:]...)
			return s.packets
		}
	}
	return nil
}

// randomSession returns a session number that nobody can guess.
func randomSession() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return binary.BigEndian.Uint64(b[:]) | 1
}

// addrOf returns the value form of a UDP address.
func addrOf(a net.Addr) netip.AddrPort {
	udp, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port())
}
