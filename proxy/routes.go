package proxy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

const (
	maxServices = 256 // of one peer
	maxLabel    = 32  // bytes of a peer's or service's name
)

// An Entry is a service that a peer offers.
type Entry struct {
	Name   string
	Scheme string // "rtsp", "http" or "https"
}

// A Route is a service that can be named here.
type Route struct {
	Target
	Scheme string
	Online bool // the peer is connected to the signal server
}

// Routes knows the peers and their services, and finds the service that a
// client names. The zero Routes is empty and ready. It is safe for concurrent
// use.
type Routes struct {
	mu    sync.RWMutex
	peers map[string]peer
}

type peer struct {
	online   bool
	services map[string]string // scheme by name
}

// SetPeer sets what is known of a peer. An offline peer without services keeps
// those that it had, so that they can still be explained. Names that are not
// DNS labels, and services beyond the 256th, are left out.
func (r *Routes) SetPeer(name string, online bool, services []Entry) {
	if name = strings.ToLower(name); !isLabel(name) {
		return
	}
	p := peer{online: online, services: make(map[string]string)}
	for _, s := range services {
		if s.Name = strings.ToLower(s.Name); isLabel(s.Name) && len(p.services) < maxServices {
			p.services[s.Name] = s.Scheme
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers == nil {
		r.peers = make(map[string]peer)
	}
	if !online && len(services) == 0 {
		p.services = r.peers[name].services
	}
	r.peers[name] = p
}

// RemovePeer forgets a peer.
func (r *Routes) RemovePeer(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, strings.ToLower(name))
}

// List returns every route, ordered by peer and service.
func (r *Routes) List() []Route {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []Route
	for name, p := range r.peers {
		for service, scheme := range p.services {
			list = append(list, Route{Target: Target{name, service}, Scheme: scheme, Online: p.online})
		}
	}
	slices.SortFunc(list, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Service, b.Service))
	})
	return list
}

// Lookup finds the service that name means, and its scheme. A name is
// PEER/SERVICE, SERVICE.PEER.localhost, SERVICE.localhost or SERVICE, each of the latter
// three with or without a port; SERVICE alone must be unique. Case does
// not matter. A peer that is offline is worth a try, which finds out what is wrong; the
// scheme is empty if it is not known what it offers by now. An error is an [*Error] that
// says what was probably meant; the target is set as far as it was understood.
func (r *Routes) Lookup(name string) (target Target, scheme string, err error) {
	target, err = parseName(name)
	if err != nil {
		return target, "", err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if target.Peer == "" {
		if target.Peer, err = r.only(target.Service); err != nil {
			return target, "", err
		}
	}
	return r.find(target)
}

// LookupPath finds the service at the beginning of a URL path, /PEER/SERVICE or
// /SERVICE, and returns what follows: empty, or with its leading slash.
func (r *Routes) LookupPath(path string) (target Target, scheme, rest string, err error) {
	first, rest := cutSegment(path)
	second, after := cutSegment(rest)
	r.mu.RLock()
	_, isPeer := r.peers[strings.ToLower(first)]
	_, err = r.only(strings.ToLower(first))
	r.mu.RUnlock()
	alone := second == "" || !isPeer && err == nil
	if target, scheme, err = r.Lookup(first + "/" + second); err == nil {
		return target, scheme, after, nil
	}
	if alone {
		target, scheme, err = r.Lookup(first)
		return target, scheme, rest, err
	}
	return target, "", "", err
}

// cutSegment splits the first segment off a path. What remains is empty or
// begins with a slash.
func cutSegment(path string) (segment, rest string) {
	path = strings.TrimPrefix(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// find returns what is known of target, whose peer is named. r.mu is held.
func (r *Routes) find(target Target) (Target, string, error) {
	p, ok := r.peers[target.Peer]
	if !ok {
		return target, "", r.unknownPeer(target)
	}
	scheme, ok := p.services[target.Service]
	if !ok && p.online {
		return target, "", unknown(target,
			fmt.Sprintf("the peer %q has no service %q", target.Peer, target.Service),
			suggest(target.Service, slices.Collect(maps.Keys(p.services)), target.Peer+"/"))
	}
	return target, scheme, nil
}

// only returns the one peer that has the service. r.mu is held.
func (r *Routes) only(service string) (string, error) {
	var having, names []string
	for name, p := range r.peers {
		if _, ok := p.services[service]; ok {
			having = append(having, name)
		}
		names = slices.AppendSeq(names, maps.Keys(p.services))
	}
	target := Target{Service: service}
	switch len(having) {
	case 1:
		return having[0], nil
	case 0:
		if p, ok := r.peers[service]; ok {
			return "", unknown(Target{Peer: service}, fmt.Sprintf("%q is a peer, not a service", service),
				suggest("", slices.Collect(maps.Keys(p.services)), service+"/"))
		}
		return "", unknown(target, fmt.Sprintf("no peer has a service %q", service), suggest(service, names, ""))
	}
	slices.Sort(having)
	for i, name := range having {
		having[i] = name + "/" + service
	}
	return "", unknown(target,
		fmt.Sprintf("%d peers have a service %q", len(having), service),
		"say which: "+join(having))
}

// unknownPeer explains that target names no known peer. r.mu is held.
func (r *Routes) unknownPeer(target Target) error {
	reason := fmt.Sprintf("there is no peer %q", target.Peer)
	if p, ok := r.peers[target.Service]; ok {
		if _, ok := p.services[target.Peer]; ok { // the wrong way round
			return unknown(target, reason, fmt.Sprintf("did you mean %s/%s?", target.Service, target.Peer))
		}
	}
	return unknown(target, reason, suggest(target.Peer, slices.Collect(maps.Keys(r.peers)), ""))
}

func unknown(target Target, reason, fix string) *Error {
	return &Error{Code: CodeUnknownName, Hop: HopGateway, Target: target, Reason: reason, Fix: fix}
}

// parseName splits a name into its parts. The peer may be missing.
func parseName(name string) (Target, error) {
	s := strings.ToLower(name)
	var t Target
	if before, after, ok := strings.Cut(s, "/"); ok {
		t = Target{Peer: before, Service: after}
		if isLabel(t.Peer) && isLabel(t.Service) {
			return t, nil
		}
		return Target{}, malformed(name)
	}
	if host, port, ok := strings.Cut(s, ":"); ok && isPort(port) {
		s = host
	}
	s = strings.TrimSuffix(s, ".")
	local := strings.HasSuffix(s, ".localhost")
	t.Service, t.Peer, _ = strings.Cut(strings.TrimSuffix(s, ".localhost"), ".")
	if !isLabel(t.Service) || t.Peer != "" && (!local || !isLabel(t.Peer)) || strings.HasSuffix(s, "..localhost") {
		return Target{}, malformed(name)
	}
	return t, nil
}

func malformed(name string) *Error {
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return unknown(Target{}, fmt.Sprintf("%q does not name a service", name),
		"write SERVICE.PEER.localhost in a browser, PEER/SERVICE elsewhere")
}

func isPort(s string) bool {
	return len(s) <= 5 && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// isLabel reports whether s can be the name of a peer or a service.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !isDigit(c) && c != '-' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
