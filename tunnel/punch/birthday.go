package punch

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"

	"peerway/tunnel/network"
)

// Where one side's NAT gives every destination another port, and the other side's lets
// in only who was sent to, neither knows where to send. But if the one sends from many
// sockets to the one address of the other, its NAT has many ports open for that; and if
// the other sends to ports at random, it soon hits one of them (the birthday paradox):
// with 256 of 64,512 the odds are even after 174 packets, and 99.8 in 100 after 1,600.
const (
	birthdayAfter   = time.Second // without a path, and between two looks at what is known
	birthdaySockets = 256
	birthdayShots   = 1800
	shotEvery       = 5 * time.Millisecond
	openEvery       = 2 * time.Millisecond
	openFor         = birthdayShots * shotEvery
	birthdayPause   = 30 * time.Second // after one in vain: the peer has a say in where to
	lowestPort      = 1024             // that NATs give
)

// birthday looks for a path that standard ICE cannot find, until working is done. It
// begins as soon as enough is known of both NATs.
func (a *Attempt) birthday(working context.Context) {
	p := a.puncher
	if p.config.Adopt == nil || p.config.Sparing || a.own != nil { // answers leave from that
		return
	}
	look := time.NewTicker(birthdayAfter)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-working.Done():
			return
		}
		if a.Remote().IsValid() {
			return
		}
		peer, hard := a.birthdayPeer()
		if !peer.IsValid() || !p.birthday.TryLock() {
			continue
		}
		if time.Since(p.inVain) < birthdayPause {
			p.birthday.Unlock()
			return
		}
		a.search(working, peer, hard)
		return
	}
}

// search is one search, and the use of what it has found. The caller has locked birthday.
func (a *Attempt) search(working context.Context, peer netip.AddrPort, hard bool) {
	p := a.puncher
	p.log.Debug("looks for a path with many packets", "remote", peer, "hard", hard)
	var winner *net.UDPConn
	if hard {
		winner = a.open(working, peer)
	} else {
		a.shoot(working, peer.Addr())
	}
	if winner == nil && !a.Remote().IsValid() {
		p.inVain = time.Now()
	}
	p.birthday.Unlock()
	if winner != nil {
		defer winner.Close()
		a.port.via.Store(&detour{winner, peer})
		p.config.Adopt(working, winner, peer)
	}
}

// birthdayPeer returns the address of the peer's NAT, and whether the hard NAT is on this
// side. It is invalid unless exactly one is hard.
func (a *Attempt) birthdayPeer() (peer netip.AddrPort, hard bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	hard = a.nat.Mapping == network.Dependent
	if len(a.reflexive) == 0 || hard == a.remote.Hard {
		return netip.AddrPort{}, false
	}
	ip := a.reflexive[0].Addr()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() { // no NAT of an internet provider
		return netip.AddrPort{}, false
	}
	return a.reflexive[0], hard
}

// shoot sends checks to ports at random.
func (a *Attempt) shoot(working context.Context, ip netip.Addr) {
	next := time.NewTicker(shotEvery)
	defer next.Stop()
	for _, port := range rand.Perm(65536 - lowestPort)[:birthdayShots] {
		select {
		case <-next.C:
		case <-working.Done():
			return
		}
		if a.Remote().IsValid() {
			return
		}
		// An error is a lost packet.
		a.port.write(a.probe(), netip.AddrPortFrom(ip, uint16(lowestPort+port)))
	}
}

// open sends checks from many sockets, and returns the one on which the peer is heard, or
// nil. The caller closes it; the others are closed.
func (a *Attempt) open(working context.Context, peer netip.AddrPort) (winner *net.UDPConn) {
	listening, stop := context.WithTimeout(working, openFor)
	hit := make(chan *net.UDPConn, 1)
	var reading sync.WaitGroup
	var conns []*net.UDPConn
	defer func() {
		stop()
		reading.Wait()
		for _, conn := range conns {
			if conn != winner {
				conn.Close()
			}
		}
	}()
	next := time.NewTicker(openEvery)
	defer next.Stop()
	for !a.Remote().IsValid() {
		select {
		case winner = <-hit:
			return winner
		case <-listening.Done():
			return nil
		case <-next.C:
		}
		if len(conns) == birthdaySockets {
			continue // until one is hit
		}
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			continue // as many as there may be
		}
		conns = append(conns, conn)
		conn.WriteToUDPAddrPort(a.probe(), peer) // an error is a lost packet
		reading.Go(func() { a.listen(listening, conn, peer, hit) })
	}
	return nil
}

// listen waits for a check of the peer on conn.
func (a *Attempt) listen(ctx context.Context, conn *net.UDPConn, peer netip.AddrPort, hit chan<- *net.UDPConn) {
	release := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer release()
	packet := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(packet)
		if err != nil {
			return // the search is over, or this socket is useless
		}
		m, err := parse(packet[:n])
		if unmap(from) != peer || err != nil || m.class != classRequest || !m.isCheck() || !m.signedWith(a.port.key) {
			continue
		}
		if release() { // else its deadline is about to pass
			select {
			case hit <- conn:
			default:
			}
		}
		return
	}
}

// probe returns a connectivity check (RFC 8445 section 7.2.2), as the ICE library would
// send it. Nobody waits for its answer.
func (a *Attempt) probe() []byte {
	a.mu.Lock()
	remote := a.remote
	a.mu.Unlock()
	role := stun.AttrICEControlled
	if a.port.controlling {
		role = stun.AttrICEControlling
	}
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest,
		stun.NewUsername(remote.Ufrag+":"+a.port.ufrag),
		stun.RawAttribute{Type: role, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 0, 1}},
		stun.NewShortTermIntegrity(remote.Pwd), stun.Fingerprint)
	if err != nil { // the peer's texts were measured
		return nil
	}
	return m.Raw
}
