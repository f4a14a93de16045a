package lan

import (
	"context"
	"crypto/rand"
	"encoding/hex"
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

	// maxPlaces bounds the answers of one search that are believed, one of each address.
	// Whoever overhears a question can answer it.
	maxPlaces = 8
)

// What a host on the network can make this one say: answers a second.
const (
	answerRate  = 10
	answerBurst = 20
)

// A finder finds peers by multicast DNS, and lets itself be found.
type finder struct {
	peer     signal.PeerID // this one
	port     uint16        // where letters to it go
	loopback bool
	log      *slog.Logger

	host    string // random
	answers *rate.Limiter
	changed chan struct{} // holds a token when networks have changed

	mu       sync.Mutex
	links    links
	channels []*channel                       // open
	searches map[string]chan<- netip.AddrPort // by the names asked for
}

func newFinder(peer signal.PeerID, port uint16, loopback bool, log *slog.Logger) *finder {
	var host [8]byte
	rand.Read(host[:]) // never fails since Go 1.24
	return &finder{
		peer: peer, port: port, loopback: loopback, log: log,
		host:     hex.EncodeToString(host[:]),
		answers:  rate.NewLimiter(answerRate, answerBurst),
		changed:  make(chan struct{}, 1),
		searches: make(map[string]chan<- netip.AddrPort),
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
	now := time.Now()
	for _, name := range h.asked {
		if isName(name, f.peer, now) && f.answers.AllowN(now, 1) {
			f.answer(c, l, answer{name: name, legacy: from.Port() != port, id: h.id}, from)
		}
	}
	if from.Port() != port {
		return // RFC 6762 section 6: answers come from there
	}
	for _, found := range h.found {
		f.tell(found.name, netip.AddrPortFrom(from.Addr(), found.port))
	}
}

// answer says where this peer is, to all on the link, or to a program that takes no part.
func (f *finder) answer(c *channel, l *link, a answer, to netip.AddrPort) {
	a.port, a.host, a.addrs = f.port, f.host, l.addrs()
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

// tell tells a search of a place.
func (f *finder) tell(name string, at netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if search, ok := f.searches[name]; ok {
		select {
		case search <- at:
		default: // nobody can be in so many places
		}
	}
}

// find calls at for each place where a peer may be, until it is told to stop, ctx is done,
// or a second has passed. Any of them may be a lie.
func (f *finder) find(ctx context.Context, peer signal.PeerID, at func(netip.AddrPort)) {
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
		name := newName(peer, time.Now())
		names = append(names, name)
		f.mu.Lock()
		f.searches[name] = hits
		f.mu.Unlock()
		f.ask(name)
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
			ask() // what is known may be a lie
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
