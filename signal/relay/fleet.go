package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"peerway/signal"
	"peerway/signal/hostport"
)

const (
	// askEvery is how often relays are asked how they are, askFor how long one that
	// answered is believed to be well, and answerWithin how long an answer is waited for.
	askEvery     = 5 * time.Second
	askFor       = 3*askEvery + answerWithin
	answerWithin = time.Second
	answerTries  = 3 // within that time

	// resolveEvery is how long an address is kept for a name while it answers.
	resolveEvery = 5 * time.Minute

	// maxPicked is how many relays a session gets.
	maxPicked = 3
)

// A Fleet is the relays on UDP that a signal server sends peers to. Its methods may be
// called from any goroutine.
type Fleet struct {
	members []*Member
	log     *slog.Logger
}

// A Member is a relay of a fleet.
type Member struct {
	url signal.RelayURL // zero: the signal server's own
	key Key
	own func() Load // nil: it must be asked

	mu         sync.Mutex
	ip4, ip6   netip.AddrPort
	resolvedAt time.Time
	heardAt    time.Time
	load       Load
	ahead      time.Duration // its clock, of ours
	away       bool          // and that was said
	doubted    bool          // it has not answered the last question
}

// A Status is how a relay is.
type Status struct {
	Where string // without its key; "here" for the signal server's own
	Load  Load
	Well  bool          // it has answered the last question
	Heard time.Duration // how long ago it answered; negative: never
}

// NewFleet returns the fleet of a signal server whose own relay has this key and this to
// do; nil: it has none. It acquires nothing. Nil discards what is logged.
func NewFleet(key Key, own func() Load, relays []signal.RelayURL, log *slog.Logger) *Fleet {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{log: log}
	if own != nil {
		f.members = append(f.members, &Member{key: key, own: own})
	}
	for _, u := range relays {
		f.members = append(f.members, &Member{url: u, key: Key(u.Key)})
	}
	return f
}

// Run asks the relays how they are, until ctx is done, and returns its cause.
func (f *Fleet) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	for _, m := range f.members {
		if m.own == nil {
			asking.Go(func() { f.watch(ctx, m) })
		}
	}
	asking.Wait()
	<-ctx.Done()
	return context.Cause(ctx)
}

// watch asks one relay again and again.
func (f *Fleet) watch(ctx context.Context, m *Member) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		r, err := m.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		switch now := time.Now(); m.told(r, err, now) {
		case comes:
			f.log.Info("relay answers", "relay", m.url, "capacity", r.Capacity, "sessions", r.Sessions)
		case goes:
			f.log.Warn("relay does not answer: is it off, is UDP blocked, or is this not the URL that it prints now? peers are sent to others", "relay", m.url, "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A turn is what has changed about a relay.
type turn int

const (
	nothing turn = iota
	comes
	goes
)

// A reply is what a relay has answered.
type reply struct {
	Load
	ahead time.Duration // its clock, of ours
}

// told takes note of what came of a question.
func (m *Member) told(r reply, err error, now time.Time) turn {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.heardAt.IsZero()
	m.doubted = err != nil
	if err != nil {
		m.resolvedAt = time.Time{} // it may be elsewhere now
		if m.away || !first && now.Sub(m.heardAt) < askFor {
			return nothing
		}
		m.away = true
		return goes
	}
	m.load, m.ahead, m.heardAt = r.Load, r.ahead, now
	if !first && !m.away {
		return nothing
	}
	m.away = false
	return comes
}

// ask asks the relay once.
func (m *Member) ask(ctx context.Context) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*answerWithin)
	defer cancel()
	if err := m.resolve(ctx); err != nil {
		return reply{}, err
	}
	ip4, ip6 := m.Addrs()
	err := errors.New("the name has no address")
	for _, addr := range []netip.AddrPort{ip4, ip6} {
		if !addr.IsValid() {
			continue
		}
		var r reply
		if r, err = m.askAt(ctx, addr); err == nil {
			return r, nil
		}
	}
	return reply{}, err
}

func (m *Member) askAt(ctx context.Context, addr netip.AddrPort) (reply, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails since Go 1.24
	question, begun := m.key.AppendAsk(nil, nonce), time.Now()
	for try := range time.Duration(answerTries) { // of one question: a late answer to an earlier one counts
		conn.SetReadDeadline(begun.Add((try + 1) * answerWithin / answerTries))
		if ctx.Err() != nil { // its deadline may just have been replaced
			return reply{}, context.Cause(ctx)
		}
		if _, err = conn.Write(question); err != nil {
			return reply{}, err
		}
		var r reply
		if r, err = m.hear(conn, nonce); !errors.Is(err, os.ErrDeadlineExceeded) {
			return r, err
		}
	}
	return reply{}, err
}

// hear waits for the answer to a question.
func (m *Member) hear(conn *net.UDPConn, nonce [8]byte) (reply, error) {
	answer := make([]byte, 2*loadSize)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return reply{}, err
		}
		if load, clock, ok := m.key.ParseLoad(answer[:n], nonce); ok {
			return reply{load, time.Until(clock)}, nil
		}
	}
}

// resolve finds out the addresses of the relay.
func (m *Member) resolve(ctx context.Context) error {
	m.mu.Lock()
	known := time.Since(m.resolvedAt) < resolveEvery
	m.mu.Unlock()
	if known {
		return nil
	}
	addrs, err := hostport.Resolve(ctx, m.url.Addr)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ip4, m.ip6 = hostport.Split(addrs)
	m.resolvedAt = time.Now()
	return nil
}

// Addrs returns where peers reach the relay; what is invalid is not there. Both are for
// a signal server's own relay, which is where the signal server is.
func (m *Member) Addrs() (ip4, ip6 netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ip4, m.ip6
}

// Key returns what grants for the relay are made with.
func (m *Member) Key() Key { return m.key }

// Clock returns what the relay's clock shows, which is the one that grants for it expire by:
// it need not be right.
func (m *Member) Clock(now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Add(m.ahead)
}

// Status returns how the relay is. Peers may still be sent to one that is not well: a
// question or two may be lost.
func (m *Member) Status(now time.Time) Status {
	if m.own != nil {
		return Status{Where: "here", Load: m.own(), Well: true}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Where: m.url.Redacted(), Load: m.load, Heard: -1}
	if !m.heardAt.IsZero() {
		s.Heard, s.Well = now.Sub(m.heardAt), !m.doubted && now.Sub(m.heardAt) < askFor
	}
	return s
}

// usable returns what the relay has to do, and whether peers are sent to it.
func (m *Member) usable(now time.Time) (Load, bool) {
	if m.own != nil {
		return m.own(), true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load, !m.heardAt.IsZero() && now.Sub(m.heardAt) < askFor
}

// Find returns the relays at addresses, as a peer remembers them; no text means the
// signal server's own. What is not one of the fleet is left out: sure is false if it may
// still turn out to be one, because not all relays have been asked for the first time.
func (f *Fleet) Find(where []string) (found []*Member, sure bool) {
	unknown, asked := false, true
	for _, text := range where {
		at := slices.IndexFunc(f.members, func(m *Member) bool { return m.isAt(text) })
		if at < 0 {
			unknown = true
		} else if m := f.members[at]; !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	for _, m := range f.members {
		asked = asked && m.asked()
	}
	return found, asked || !unknown && !slices.ContainsFunc(found, func(m *Member) bool { return !m.asked() })
}

// isAt reports whether that is how peers know the relay.
func (m *Member) isAt(where string) bool {
	if m.own != nil || where == "" {
		return m.own != nil && where == ""
	}
	addr, err := netip.ParseAddrPort(where)
	ip4, ip6 := m.Addrs()
	return err == nil && (addr == ip4 || addr == ip6)
}

// asked reports whether it is known how the relay is.
func (m *Member) asked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own != nil || m.away || !m.heardAt.IsZero()
}

// Members returns the relays.
func (f *Fleet) Members() []*Member { return f.members }

// Pick returns relays for a session that has had some: those that are well, and the ones
// with the most to spare in the place of others.
func (f *Fleet) Pick(now time.Time, had []*Member) []*Member {
	type candidate struct {
		*Member
		free int64
	}
	var picked []*Member
	var others []candidate
	for _, m := range f.members {
		load, usable := m.usable(now)
		switch {
		case !usable:
		case slices.Contains(had, m):
			picked = append(picked, m)
		default:
			others = append(others, candidate{m, load.Free()})
		}
	}
	slices.SortStableFunc(picked, func(a, b *Member) int { return cmp.Compare(slices.Index(had, a), slices.Index(had, b)) })
	slices.SortStableFunc(others, func(a, b candidate) int { return cmp.Compare(b.free, a.free) })
	for _, c := range others {
		if len(picked) < maxPicked {
			picked = append(picked, c.Member)
		}
	}
	return picked
}
