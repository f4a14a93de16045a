package main

import (
	"time"

	"peerway/signal"
	"peerway/signal/client"
	"peerway/signal/relay"
)

// events is the node as the [client.Handler] of its uplink.
type events struct{ *node }

// Deliver implements [client.Handler].
func (e events) Deliver(from signal.PeerID, sealed []byte) { e.tunnels.Deliver(from, sealed) }

// Relayed implements [client.Handler].
func (e events) Relayed(session uint64, packet []byte) { e.tunnels.Relayed(session, packet) }

// Granted implements client.Handler.
func (e events) Granted(session uint64, places []relay.Place) { e.tunnels.Granted(session, places) }

// Spent implements client.Handler.
func (e events) Spent(session uint64, left time.Duration) { e.tunnels.Spent(session, left) }

// Presence implements [client.Handler].
func (e events) Presence(p signal.Presence) {
	e.tunnels.Presence(p)
	name, before, ok := e.book.note(&p)
	if !ok {
		return
	}
	switch known := !before.Peer.IsZero(); {
	case p.Online && !before.Online:
		e.reach.failures.clear(p.Peer)
		e.log.Info("peer is online", "peer", name)
	case !p.Online && (before.Online || !known && e.gateway != nil): // only who wants to reach it misses it
		e.log.Info("peer is offline", "peer", name)
	}
	if e.gateway != nil {
		e.gateway.presence(name, p)
	}
}

// Connected implements [client.Handler].
func (e events) Connected(info client.Info) {
	e.uplink.up.Store(true)
	e.reach.failures.forget() // what the server has said, or relays for it, may be over
	e.tunnels.Connected(info.Server, info.Other)
	e.opened(info.Name)
	e.sayReady()
	e.once.Do(func() { close(e.loggedIn) })
}

// Disconnected implements [client.Handler].
func (e events) Disconnected(error) {
	e.uplink.up.Store(false)
	e.tunnels.Disconnected()
}
