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
// If the ports can be foreseen it begins with those.
const (
	searchAfter     = time.Second            // without a path
	foreseenAfter   = 300 * time.Millisecond // if ports can be foreseen
	lookEvery       = 100 * time.Millisecond // at what is known by then
	birthdaySockets = 256
	birthdayShots   = 1800
	shotEvery       = 5 * time.Millisecond
	openEvery       = 2 * time.Millisecond
	openFor         = birthdayShots * shotEvery
	lowestPort      = 1024 // that NATs give
)

// search looks for a path that standard ICE cannot find, until working is done. It
// begins as soon as enough is known of both NATs.
func (a *Attempt) search(working context.Context) {
	p := a.puncher
	if p.config.Adopt == nil || p.config.Sparing || a.own != nil { // answers leave from that
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for done := (progress{}); done.calls < maxRounds && done.searches < 2*maxRounds; {
		s, ok := a.await(working, look.C, done)
		if working.Err() != nil || a.Remote().IsValid() {
			return
		}
		if !ok {
			continue
		}
		turn := p.budget.begin(working, a.peer, s.cost(), time.Now())
		if turn == nil {
			continue // until there is one: the other end may search already
		}
		round := s.peerRound
		if s.opens() {
			done.calls++
			round = done.calls
		}
		if again := a.searchOnce(working, turn, s, round); again {
			continue
		}
		done.searches++
		done.answered = s.peerRound
		if a.holds(s) && !s.foreseen() {
			return
		}
	}
}

// A progress is what an attempt has searched, but for what was interrupted: that may be made
// again.
type progress struct {
	searches int
	calls    uint8 // rounds that this side has begun: the peer knows their numbers, and takes none twice
	answered uint8 // the newest that the peer had begun
}

// await waits for one look at what is known, and reports whether to search.
func (a *Attempt) await(working context.Context, look <-chan time.Time, done progress) (s standing, ok bool) {
	select {
	case <-look:
	case <-a.news:
	case <-working.Done():
		return s, false
	}
	s = a.standing()
	return s, s.ready(done, time.Now())
}

// A standing is what is known of both NATs.
type standing struct {
	since       time.Time      // the checks have begun; zero: they have not
	controlling bool           // this side
	hard        bool           // this side's gives every destination another port
	step        int            // and each is so many after the last; 0: it is not
	server      netip.AddrPort // that tells which
	peer        netip.AddrPort // what the peer's gave first; invalid: no NAT of a provider
	peerHard    bool
	peerStep    int
	peerRound   uint8 // that the peer has begun last
}

func (a *Attempt) standing() standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := standing{
		since: a.connectedAt, controlling: a.port.controlling,
		hard: a.nat.Mapping == network.Dependent, step: a.nat.Delta, server: a.nat.Server,
		peerHard: a.remote.Hard, peerStep: int(a.remote.Delta), peerRound: a.called.round,
	}
	if len(a.reflexive) > 0 && isProviders(a.reflexive[0].Addr()) {
		s.peer = a.reflexive[0]
	}
	return s
}

// isProviders reports whether an address may be that of a NAT in the internet.
func isProviders(a netip.Addr) bool { return a.Is4() && a.IsGlobalUnicast() && !a.IsPrivate() }

// holds reports whether a search that began with s is still the right one: one of the NATs
// may turn out to be hard when it has begun.
func (a *Attempt) holds(s standing) bool {
	now := a.standing()
	return now.hard == s.hard && now.peerHard == s.peerHard && now.foreseen() == s.foreseen()
}

// foreseen reports whether both sides measure, in rounds.
func (s standing) foreseen() bool { return s.hard && s.peerHard && s.step != 0 && s.peerStep != 0 }

// cost returns what a search costs.
func (s standing) cost() int {
	if s.foreseen() {
		return roundCost
	}
	return searchCost
}

// opens reports whether it is this side that sends from many sockets.
func (s standing) opens() bool { return s.hard && (!s.peerHard || s.controlling) }

// ready reports whether to search now.
func (s standing) ready(done progress, now time.Time) bool {
	after := searchAfter
	if s.foreseen() || s.opens() && s.step != 0 {
		after = foreseenAfter
	}
	switch {
	case s.since.IsZero() || !s.peer.IsValid() || !s.hard && !s.peerHard:
		return false
	case s.hard && s.peerHard && !s.foreseen():
		return false
	case !s.opens() && s.peerStep != 0 && s.peerRound > done.answered: // the peer has begun
		return true
	case !s.opens() && s.foreseen():
		return false
	}
	return now.Sub(s.since) >= after
}

// searchOnce is one search, which ends the turn, and the use of what it has found. It reports
// whether it was interrupted.
func (a *Attempt) searchOnce(working context.Context, turn *turn, s standing, round uint8) (again bool) {
	p := a.puncher
	p.log.Debug("looks for a path with many packets", "remote", s.peer, "hard", s.hard, "step", s.step, "round", round)
	var winner *net.UDPConn
	to := s.peer
	if s.opens() {
		winner, to = a.openRound(turn.ctx, s, round)
	} else {
		a.shootRound(turn.ctx, s, round)
	}
	found := winner != nil || a.Remote().Addr() == s.peer.Addr()
	again = p.budget.end(turn, found, time.Now())
	if winner == nil {
		return again
	}
	defer winner.Close()
	p.log.Debug("the peer is heard on one of many sockets", "remote", to)
	a.port.via.Store(&detour{winner, to})
	if c := newCandidate(to, true, 0); a.wants(to, heard) {
		a.addRemote(c) // the attempt may be over
	}
	p.config.Adopt(working, winner, to)
	return false
}

// openRound opens many sockets, and returns the one on which the peer is heard, and where
// from.
func (a *Attempt) openRound(working context.Context, s standing, round uint8) (*net.UDPConn, netip.AddrPort) {
	var err error
	if s.step != 0 {
		err = a.measure(working, s.server, round, false)
	}
	if !s.foreseen() { // the peer shoots at random as well
		return a.open(working, s, s.peer, birthdaySockets), s.peer
	}
	if err != nil {
		return nil, s.peer
	}
	last, _ := a.reply(working, round)
	to := sequence{last, s.peerStep}.target()
	if !to.IsValid() {
		return nil, s.peer
	}
	return a.open(working, s, to, foreseenSockets), to
}

// shootRound sends to where the peer's sockets are.
func (a *Attempt) shootRound(working context.Context, s standing, round uint8) {
	if !s.foreseen() {
		a.shoot(working, s)
		return
	}
	if a.measure(working, s.server, round, true) != nil {
		return
	}
	again := time.NewTicker(shootAgain)
	defer again.Stop()
	begun := time.Now()
	for !a.Remote().IsValid() && a.measuredBy(false).round == round && time.Since(begun) < replyIn+foreseenFor {
		a.shootForeseen()
		select {
		case <-again.C:
		case <-working.Done():
			return
		}
	}
}

// shootForeseen sends to the ports that follow from what the peer has measured, if it has.
func (a *Attempt) shootForeseen() {
	for _, to := range (sequence{a.measuredBy(false).addr, a.standing().peerStep}).targets() {
		a.port.write(a.probe(), to) // an error is a lost packet
	}
}

// shoot sends checks to ports at random, and again and again to those that are foreseen.
func (a *Attempt) shoot(working context.Context, s standing) {
	next := time.NewTicker(shotEvery)
	defer next.Stop()
	for i, port := range rand.Perm(65536 - lowestPort)[:birthdayShots] {
		select {
		case <-next.C:
		case <-working.Done():
			return
		}
		if a.Remote().IsValid() || !a.holds(s) {
			return
		}
		if i%int(shootAgain/shotEvery) == 0 {
			a.shootForeseen()
		}
		// An error is a lost packet.
		a.port.write(a.probe(), netip.AddrPortFrom(s.peer.Addr(), uint16(lowestPort+port)))
	}
}

// open sends checks from that many sockets, and returns the one on which the peer is heard,
// or nil. The caller closes it; the others are closed.
func (a *Attempt) open(working context.Context, s standing, peer netip.AddrPort, sockets int) (winner *net.UDPConn) {
	within := openFor
	if s.foreseen() {
		within = foreseenFor
	}
	listening, stop := context.WithTimeout(working, within)
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
	for !a.Remote().IsValid() && a.holds(s) {
		select {
		case winner = <-hit:
			return winner
		case <-listening.Done():
			return nil
		case <-next.C:
		}
		if len(conns) == sockets {
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
