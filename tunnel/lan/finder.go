package lan

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

const (
	// searchFor bounds a search. Who is there answers in milliseconds.
	searchFor = time.Second

	// A question is repeated after firstAsk, and then after twice as long each time: Wi-Fi
	// loses multicast packets. By another name each time, so that nobody says the same
	// twice in a second (RFC 6762 section 6).
	firstAsk = 100 * time.Millisecond

	// maxPlaces bounds the places of one peer, one at each address. Whoever overhears an
	// answer can repeat it as if from others, but comes second.
	maxPlaces = 8

	// What all peers together can make this one say: Wi-Fi is slow at what is for all.
	answerRateAll  = 20 // a second
	answerBurstAll = 40
)

// A finder finds peers by multicast DNS, and lets itself be found.
type finder struct {
	me       signal.PeerID
	port     uint16 // where letters to it go
	peers    *correspondents
	allowed  func(signal.PeerID) bool
	loopback bool
	log      *slog.Logger

	answers *rate.Limiter
	changed chan struct{} // holds a token when networks have changed

	mu       sync.Mutex
	links    links
	channels []*channel        // open
	searches map[string]search // by the names asked for
}

// A search is for the peer that a name was made for.
type search struct {
	name
	peer *correspondent
	hits chan<- netip.AddrPort
}

func newFinder(cfg Config, peers *correspondents) *finder {
	return &finder{
		me: cfg.Identity.PeerID(), port: cfg.Port, peers: peers, allowed: cfg.Allowed, loopback: cfg.Loopback, log: cfg.Log,
		answers:  rate.NewLimiter(answerRateAll, answerBurstAll),
		changed:  make(chan struct{}, 1),
		searches: make(map[string]search),
	}
}

// run answers until ctx is done. Without a network, or where the port cannot be shared, it
// waits for a change.
func (f *finder) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.serve(ctx)
	}
}

// serve answers on the networks of the moment until they change.
func (f *finder) serve(ctx context.Context) {
	on, err := lookAround(f.loopback)
	if err != nil {
		f.log.Debug("local networks are unknown", "err", err)
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	var open []*channel
	defer func() {
		f.use(nil, nil)
		for _, c := range open {
			c.conn.Close()
		}
	}()
	for _, group := range []netip.Addr{group4(), group6()} {
		if len(on) == 0 {
			break
		}
		c, err := openChannel(ctx, group, on)
		if err != nil {
			f.log.Debug("no multicast DNS", "remote", group, "err", err)
			continue
		}
		open = append(open, c)
	}
	f.use(on, open)
	for _, c := range open {
		reading.Go(func() {
			err := c.read(func(packet []byte, from netip.AddrPort) { f.hear(c, packet, from) })
			if ctx.Err() == nil {
				f.log.Debug("multicast DNS has ended", "err", err)
			}
		})
	}
	select {
	case <-f.changed:
	case <-ctx.Done():
	}
}

func (f *finder) use(on links, open []*channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links, f.channels = on, open
}

func (f *finder) networks() (links, []*channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links, f.channels
}

// local returns an address in the form in which it is compared. It reports false if it is
// of no local network.
func (f *finder) local(a netip.AddrPort) (netip.AddrPort, bool) {
	on, _ := f.networks()
	ip := a.Addr().Unmap()
	l, ok := on.of(ip)
	if !ok {
		return netip.AddrPort{}, false
	}
	if ip.Zone() != "" {
		ip = ip.WithZone(l.zone())
	}
	return netip.AddrPortFrom(ip, a.Port()), true
}

// networkChanged makes the finder look around again.
func (f *finder) networkChanged() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// hear acts on a packet, which is hostile.
func (f *finder) hear(c *channel, packet []byte, from netip.AddrPort) {
	on, _ := f.networks()
	l, ok := on.of(from.Addr())
	if !ok {
		return
	}
	h, err := parse(packet)
	if err != nil {
		return // there are many programs, and not all are right
	}
	for _, text := range h.asked {
		if a, ok := f.admit(c, l, text, time.Now()); ok {
			a.legacy, a.id = from.Port() != port, h.id
			f.answer(c, l, a, from)
		}
	}
	if from.Port() != port {
		return // RFC 6762 section 6: answers come from there
	}
	for _, found := range h.found {
		f.tell(found, from.Addr())
	}
}

// admit returns the answer to a question for a name, if it is of a peer that may ask, and
// does not ask too much.
func (f *finder) admit(c *channel, l *link, text string, now time.Time) (answer, bool) {
	n, ok := parseName(text, f.me)
	if !ok || !f.allowed(n.from) {
		return answer{}, false
	}
	peer, err := f.peers.of(n.from)
	if err != nil || !n.isGenuine(peer, now) || !peer.isNew(question{n.nonce, l.device.Index, c.v4 != nil}) {
		return answer{}, false
	}
	return answer{name: text, host: hostOf(&peer.out, n.nonce, f.port)}, peer.answers.AllowN(now, 1) && f.answers.AllowN(now, 1)
}

// hostOf returns the host in the answer to a question: nobody can make it up but the peer
// that was asked for.
func hostOf(key *[32]byte, nonce [nonceSize]byte, port uint16) string {
	t := tagOf(key, forAnswer, nonce[:], binary.BigEndian.AppendUint16(nil, port))
	return encode(t[:])
}

// answer says where this peer is, to all on the link, or to a program that takes no part.
func (f *finder) answer(c *channel, l *link, a answer, to netip.AddrPort) {
	a.port, a.addrs = f.port, l.addrs()
	packet, err := a.pack()
	if err != nil {
		f.log.Debug("no answer", "err", err)
		return
	}
	if a.legacy {
		c.conn.WriteToUDPAddrPort(packet, to) // an error is a lost packet
		return
	}
	c.say(l, packet)
}

// tell tells a search of a place, if the peer itself says that it is there.
func (f *finder) tell(place found, at netip.Addr) {
	f.mu.Lock()
	search, ok := f.searches[place.name]
	f.mu.Unlock()
	if !ok || place.host != hostOf(&search.peer.in, search.nonce, place.port) {
		return
	}
	select {
	case search.hits <- netip.AddrPortFrom(at, place.port):
	default: // nobody can be in so many places
	}
}

// find calls at for each place where a peer may be, until ctx is done or a second has passed.
func (f *finder) find(ctx context.Context, to signal.PeerID, at func(netip.AddrPort)) {
	peer, err := f.peers.of(to)
	if err != nil {
		f.log.Debug("nobody to ask for", "peer", to, "err", err)
		return
	}
	var names []string
	hits := make(chan netip.AddrPort, 2*maxPlaces)
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, name := range names {
			delete(f.searches, name)
		}
	}()
	ask := func() {
		n, text := newName(f.me, to, peer, time.Now())
		names = append(names, text)
		f.mu.Lock()
		f.searches[text] = search{n, peer, hits}
		f.mu.Unlock()
		f.ask(text)
	}
	ask()
	pause := firstAsk
	again := time.NewTimer(pause)
	defer again.Stop()
	end := time.NewTimer(searchFor)
	defer end.Stop()
	var known []netip.AddrPort
	for {
		select {
		case place := <-hits:
			named := slices.ContainsFunc(known, func(k netip.AddrPort) bool { return k.Addr() == place.Addr() })
			if !named && len(known) < maxPlaces {
				known = append(known, place)
				at(place)
			}
		case <-again.C:
			ask() // the peer may not be there any more, or not reply there
			pause *= 2
			again.Reset(pause)
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask asks for a name on all links.
func (f *finder) ask(name string) {
	packet, err := makeQuestion(name)
	if err != nil {
		f.log.Debug("no question", "err", err)
		return
	}
	on, open := f.networks()
	for _, c := range open {
		for i := range on {
			c.say(&on[i], packet)
		}
	}
}
