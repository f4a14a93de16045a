package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"peerway/signal"
	"peerway/signal/client"
)

// An uplink is this process's connection to the signal server. It is a client
// that may change its name: if nobody insists on one and it is taken, the free
// one that the server suggests is as good.
type uplink struct {
	cfg    client.Config // with the name to try first
	insist bool          // on the name
	stay   bool          // with a server whose key is another one: there are peers to be found without it
	now    atomic.Pointer[client.Client]
	up     atomic.Bool   // logged in
	moved  chan struct{} // holds a token when the network has changed
}

// newUplink returns an uplink that is not connected. It acquires nothing.
func newUplink(cfg client.Config, insist, stay bool) *uplink {
	cfg.Proxy = http.ProxyFromEnvironment
	u := &uplink{cfg: cfg, insist: insist, stay: stay, moved: make(chan struct{}, 1)}
	u.now.Store(client.New(cfg))
	return u
}

// Run keeps the connection until ctx is done or the server refuses this peer.
// services and allow are announced from the first login on.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned.
func (u *uplink) Run(ctx context.Context, services []signal.Service, allow func() []signal.PeerID) error {
	cfg, level := u.cfg, slog.LevelError
	for {
		c := u.now.Load()
		c.Announce(services, allow())
		err := c.Run(ctx)
		u.up.Store(false)
		refused, ok := errors.AsType[*client.RefusedError](err)
		switch {
		case ok && refused.Code == client.WrongPin && u.stay && ctx.Err() == nil:
			cfg.Log.Log(ctx, level, "the signal server is another one", "remote", cfg.URL.Addr, "err", err)
			level = slog.LevelDebug // once is enough
			u.rest(ctx)
			continue
		case ok && refused.Code == client.WrongSecret && cfg.URL.Secret == (signal.Secret{}):
			return fail(exitNotAllowed, "the URL of the signal server has no join secret, and the server does not know this peer: use the whole URL, as peerway signal printed it")
		case !ok || refused.Code != client.NameTaken || refused.Suggestion == "":
			return err
		case u.insist:
			return fail(exitNotAllowed, "the name %s is taken: choose another; %q is free", cfg.Name, refused.Suggestion)
		}
		if cfg.Name != u.cfg.Name { // somebody was faster: ask for another suggestion
			cfg.Name = u.cfg.Name
		} else {
			cfg.Log.Info("the name is taken, using another", "name", cfg.Name, "instead", refused.Suggestion)
			cfg.Name = refused.Suggestion
		}
		u.now.Store(client.New(cfg))
	}
}

// wrongPinPause is how long a server with another key is left alone.
const wrongPinPause = 30 * time.Second

// rest leaves a server with another key alone: for a while, or until the network changes, for
// it may be that of a hotel that answers for all servers.
func (u *uplink) rest(ctx context.Context) {
	timer := time.NewTimer(wrongPinPause)
	defer timer.Stop()
	select {
	case <-u.moved:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// report describes the connection.
func (u *uplink) report() signalReport {
	r := signalReport{URL: u.cfg.URL.Redacted(), Connected: u.up.Load()}
	if trouble := u.client().Trouble(); trouble.Err != nil && !r.Connected {
		r.Why, r.WhyAge = trouble.Err.Error(), int64(time.Since(trouble.At)/time.Second)
		if !trouble.Next.IsZero() {
			r.Retry = max(0, int64(time.Until(trouble.Next).Round(time.Second)/time.Second))
		}
	}
	return r
}

// loginWithin is how long a login is waited for that somebody misses.
const loginWithin = 3 * time.Second

// await has the next attempt to log in begin at once, waits for what comes of it, 3 s at most,
// and reports whether this process is logged in.
func (u *uplink) await(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, loginWithin)
	defer cancel()
	return u.client().Await(ctx)
}

// client returns the client of the moment. It does not change after the first
// login.
func (u *uplink) client() *client.Client { return u.now.Load() }

// Send implements tunnel.Signaler.
func (u *uplink) Send(ctx context.Context, to signal.PeerID, sealed []byte) error {
	return u.client().Send(ctx, to, sealed)
}

// Bind implements tunnel.Signaler.
func (u *uplink) Bind(session uint64, to signal.PeerID) error { return u.client().Bind(session, to) }

// NetworkChanged says that addresses or routes of this host have changed.
func (u *uplink) NetworkChanged() {
	select {
	case u.moved <- struct{}{}:
	default:
	}
	u.client().NetworkChanged()
}

// Unbind ends what Bind began.
func (u *uplink) Unbind(session uint64) { u.client().Unbind(session) }

// Relay implements tunnel.Signaler.
func (u *uplink) Relay(session uint64, packet []byte) error { return u.client().Relay(session, packet) }
