package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"peerway/cmd/peerway/state"
	"peerway/signal"
)

// A book knows the peers: who is paired with this one, under which name, what
// they expose, and what the signal server says of them. The names are those of the pairing: the
// server, which is not trusted, cannot rename a peer. It is safe for concurrent
// use.
type book struct {
	dir *state.Dir // borrowed; where the peers are kept

	mu    sync.Mutex
	peers []state.Peer
	seen  map[signal.PeerID]signal.Presence // without Peer: what is remembered of an earlier life
	news  chan struct{}                     // holds a token when services have changed
}

// openBook returns the book of the peers that dir remembers, without their services.
func openBook(dir *state.Dir) (*book, error) {
	peers, err := dir.Peers()
	if err != nil {
		return nil, err
	}
	return &book{dir: dir, peers: peers, seen: make(map[signal.PeerID]signal.Presence), news: make(chan struct{}, 1)}, nil
}

// recall makes the services known that the peers exposed in an earlier life. Those of a damaged
// file are lost: the peers tell theirs again, and then the file is written anew.
func (b *book) recall(log *slog.Logger) error {
	services, err := b.dir.Services()
	if corrupt, ok := errors.AsType[*state.CorruptError](err); ok {
		log.Warn("what the peers exposed last time is forgotten", "err", fmt.Sprintf("%s:%d: %s", corrupt.File, corrupt.Line, corrupt.Reason))
		return nil
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		b.seen[p.ID] = signal.Presence{Services: services[p.ID]}
	}
	return nil
}

// saveEvery is how often services are saved that change all the time.
const saveEvery = 10 * time.Second

// Run saves what the peers expose when it has changed, until ctx is done.
func (b *book) Run(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-b.news:
			b.save(log)
			pause(ctx, saveEvery)
		case <-ctx.Done():
			select {
			case <-b.news:
				b.save(log)
			default:
			}
			return context.Cause(ctx)
		}
	}
}

// save saves what the peers expose.
func (b *book) save(log *slog.Logger) {
	b.mu.Lock()
	services := make(map[signal.PeerID][]signal.Service)
	for _, p := range b.peers {
		services[p.ID] = b.seen[p.ID].Services
	}
	b.mu.Unlock()
	if err := b.dir.SaveServices(services); err != nil {
		log.Warn("cannot remember what the peers expose", "err", err)
	}
}

// add remembers a peer that was paired at a signal server, also for the next life of this
// process, and returns the name that it has here: its own, or one like it if another peer has
// that.
func (b *book) add(id signal.PeerID, name, server string) (string, error) {
	if err := signal.ValidName(name); err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	peers, err := b.with(id, name, server)
	if err != nil {
		return "", err
	}
	if err := b.dir.SavePeers(peers); err != nil {
		return "", err
	}
	b.peers = peers
	return peers[len(peers)-1].Name, nil
}

// admits returns the error that add would, as far as can be known before.
func (b *book) admits(id signal.PeerID, name, server string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	peers, err := b.with(id, name, server)
	if err != nil {
		return err
	}
	return b.dir.CanSavePeers(peers)
}

// with returns the peers with one more, which is the last. b.mu is held.
func (b *book) with(id signal.PeerID, name, server string) ([]state.Peer, error) {
	peers := slices.DeleteFunc(slices.Clone(b.peers), func(p state.Peer) bool { return p.ID == id })
	if len(peers) >= signal.MaxAllowed {
		return nil, fmt.Errorf("%d peers are paired with this one, which is the limit", len(peers))
	}
	return append(peers, state.Peer{ID: id, Name: freeName(name, peers), Paired: time.Now(), Server: server}), nil
}

// freeName returns name, or the first of name-2, name-3, … that none of peers has.
func freeName(name string, peers []state.Peer) string {
	free := name
	for n := 2; slices.ContainsFunc(peers, func(p state.Peer) bool { return p.Name == free }); n++ {
		end := "-" + strconv.Itoa(n)
		free = strings.TrimRight(name[:min(len(name), 32-len(end))], "-") + end
	}
	return free
}

// size returns how many peers are paired with this one.
func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.peers)
}

// ids returns the peers that are paired with this one.
func (b *book) ids() []signal.PeerID {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make([]signal.PeerID, len(b.peers))
	for i, p := range b.peers {
		ids[i] = p.ID
	}
	return ids
}

// names returns the names that those peers have here.
func (b *book) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, len(b.peers))
	for i, p := range b.peers {
		names[i] = p.Name
	}
	return names
}

// allowed reports whether a peer is paired with this one.
func (b *book) allowed(id signal.PeerID) bool {
	_, ok := b.name(id)
	return ok
}

// named reports whether a peer of that name is paired with this one.
func (b *book) named(name string) bool {
	_, ok := b.id(name)
	return ok
}

// name returns the name that a peer has here.
func (b *book) name(id signal.PeerID) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.peers, func(p state.Peer) bool { return p.ID == id })
	if i < 0 {
		return "", false
	}
	return b.peers[i].Name, true
}

// id returns the peer that has that name here.
func (b *book) id(name string) (signal.PeerID, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.peers, func(p state.Peer) bool { return p.Name == name })
	if i < 0 {
		return signal.PeerID{}, false
	}
	return b.peers[i].ID, true
}

// note takes what the server says of a peer. It returns the peer's name here and
// what was known before; it reports false for a peer that is not paired with
// this one. Services that are malformed are left out of p.
func (b *book) note(p *signal.Presence) (name string, before signal.Presence, ok bool) {
	if name, ok = b.name(p.Peer); !ok {
		return "", before, false
	}
	p.Services = slices.DeleteFunc(slices.Clone(p.Services), func(s signal.Service) bool { return s.Validate() != nil })
	p.Services = p.Services[:min(len(p.Services), signal.MaxServices)]
	b.mu.Lock()
	defer b.mu.Unlock()
	before = b.seen[p.Peer]
	if !p.Online && len(p.Services) == 0 {
		p.Services = before.Services // so that they can still be named
	}
	b.seen[p.Peer] = *p
	if !slices.Equal(p.Services, before.Services) {
		select {
		case b.news <- struct{}{}:
		default:
		}
	}
	return name, before, true
}

// services returns what a peer exposes, as far as is known.
func (b *book) services(name string) []signal.Service {
	id, _ := b.id(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[id].Services
}

// elsewhere returns the signal server at which a peer was paired, if it is known and not server.
func (b *book) elsewhere(id signal.PeerID, server string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.peers, func(p state.Peer) bool { return p.ID == id })
	if i < 0 || b.peers[i].Server == server {
		return ""
	}
	return b.peers[i].Server
}

// report describes the peers in the order in which they were paired. url returns where a
// service is on this machine, or ""; server is the signal server.
func (b *book) report(url func(peer string, s signal.Service) string, server string) []peerReport {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]peerReport, len(b.peers))
	for i, p := range b.peers {
		seen := b.seen[p.ID]
		list[i] = peerReport{
			Name: p.Name, ID: p.ID.String(), Online: seen.Online, Services: []string{},
			Remembered: seen.Peer.IsZero() && len(seen.Services) > 0,
		}
		if p.Server != server {
			list[i].PairedAt = p.Server
		}
		for _, s := range seen.Services {
			list[i].Services = append(list[i].Services, s.Name)
			if at := url(p.Name, s); at != "" {
				if list[i].URLs == nil {
					list[i].URLs = make(map[string]string)
				}
				list[i].URLs[s.Name] = at
			}
		}
		slices.Sort(list[i].Services)
	}
	return list
}
