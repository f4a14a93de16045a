package server

import (
	"fmt"
	"slices"
	"time"

	"peerway/signal"
)

const (
	// nameKept is how long an unused name stays reserved for the peer that had
	// it. After that the next one may have it.
	nameKept = 30 * 24 * time.Hour
	// maxKnown bounds how many peers are remembered.
	maxKnown = 50_000
	day      = 24 * time.Hour
)

// A directory knows the peers that may log in without the join secret, and
// which name belongs to whom. It is not safe for concurrent use.
type directory struct {
	peers map[signal.PeerID]KnownPeer
	names map[string]signal.PeerID
}

func newDirectory(peers []KnownPeer) *directory {
	d := &directory{peers: make(map[signal.PeerID]KnownPeer), names: make(map[string]signal.PeerID)}
	for _, p := range peers {
		d.peers[p.ID] = p
		d.names[p.Name] = p.ID
	}
	return d
}

// free reports whether id may have the name. online says whether the peer that
// has it is connected.
func (d *directory) free(name string, id signal.PeerID, online func(signal.PeerID) bool, now time.Time) bool {
	owner, taken := d.names[name]
	return !taken || owner == id || !online(owner) && now.Sub(d.peers[owner].Seen) > nameKept
}

// suggest returns a free name like the one that is taken.
func (d *directory) suggest(name string) string {
	for n := 2; ; n++ {
		suffix := fmt.Sprintf("-%d", n)
		base := name[:min(len(name), 32-len(suffix))]
		for len(base) > 1 && base[len(base)-1] == '-' {
			base = base[:len(base)-1]
		}
		if _, taken := d.names[base+suffix]; !taken {
			return base + suffix
		}
	}
}

// remember notes that id is here under a name that is free for it. It reports
// whether that changes what must be saved.
func (d *directory) remember(id signal.PeerID, name string, now time.Time) (changed bool) {
	if owner, taken := d.names[name]; taken && owner != id {
		delete(d.peers, owner)
	}
	old, known := d.peers[id]
	if known && old.Name == name && now.Sub(old.Seen) < day {
		return false
	}
	if known {
		delete(d.names, old.Name)
	} else if len(d.peers) >= maxKnown {
		d.forgetOldest()
	}
	d.peers[id] = KnownPeer{ID: id, Name: name, Seen: now.Truncate(day).UTC()}
	d.names[name] = id
	return true
}

func (d *directory) forgetOldest() {
	var oldest KnownPeer
	for _, p := range d.peers {
		if oldest.Name == "" || p.Seen.Before(oldest.Seen) {
			oldest = p
		}
	}
	delete(d.peers, oldest.ID)
	delete(d.names, oldest.Name)
}

// list returns the known peers in a stable order.
func (d *directory) list() []KnownPeer {
	all := make([]KnownPeer, 0, len(d.peers))
	for _, p := range d.peers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b KnownPeer) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return all
}
