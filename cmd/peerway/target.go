package main

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"peerway/proxy"
)

var errNoTarget = errors.New("it names no peer: want PEER, PEER/SERVICE, or a URL as peerway ls shows them")

// targetOf returns what a person means: PEER, PEER/SERVICE, a SERVICE that only one of peers
// exposes, or the URL of one on this machine. Case does not matter.
func targetOf(given string, peers []peerReport) (target proxy.Target, err error) {
	given = strings.ToLower(given)
	if strings.Contains(given, "://") {
		u, err := url.Parse(given)
		if err != nil {
			return target, errNoTarget
		}
		host := strings.Split(strings.TrimSuffix(u.Hostname(), ".localhost"), ".")
		if given = strings.TrimPrefix(u.Path, "/"); strings.HasPrefix(u.Scheme, "http") {
			slices.Reverse(host) // SERVICE.PEER, or SERVICE
			given = strings.Join(host, "/")
		}
	}
	target.Peer, target.Service, _ = strings.Cut(given, "/")
	target.Service, _, _ = strings.Cut(target.Service, "/") // what follows is the server's own
	if target.Peer == "" {
		return target, errNoTarget
	}
	named := func(p peerReport) bool { return p.Name == target.Peer }
	exposes := func(p peerReport) bool { return slices.Contains(p.Services, target.Peer) }
	if i := slices.IndexFunc(peers, exposes); i >= 0 && target.Service == "" && !slices.ContainsFunc(peers, named) &&
		!slices.ContainsFunc(peers[i+1:], exposes) {
		return proxy.Target{Peer: peers[i].Name, Service: target.Peer}, nil
	}
	return target, nil
}
