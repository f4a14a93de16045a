package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"peerway/proxy"
	"peerway/signal"
	"peerway/signal/client"
	"peerway/tunnel"
	"peerway/tunnel/lane"
)

// A dialer reaches peers by the names that they have here. It is the
// [proxy.Dialer] of the gateway.
type dialer struct {
	book     *book           // borrowed
	tunnels  *tunnel.Manager // borrowed
	server   string          // HOST:PORT of the signal server
	failures *failures       // borrowed
}

// DialContext implements [proxy.Dialer].
func (d dialer) DialContext(ctx context.Context, target proxy.Target, class proxy.Class) (proxy.Conn, error) {
	id, ok := d.book.id(target.Peer)
	if !ok {
		return nil, unknownPeer(target)
	}
	how := lane.Mixed
	if class == proxy.Dedicated {
		how = lane.Dedicated
	}
	stream, err := d.tunnels.DialContext(ctx, id, target.Service, how)
	if err != nil {
		return nil, d.explain(id, target, err)
	}
	d.failures.clear(id)
	return &conn{Outgoing: stream, target: target}, nil
}

// explain tells a person why there is no tunnel to the peer of target, and remembers it.
func (d dialer) explain(id signal.PeerID, target proxy.Target, err error) error {
	err = explainDial(target, d.book.elsewhere(id, d.server), err)
	d.failures.note(id, err)
	return err
}

// An awaited is a dialer that waits until the peer has reached the real server.
type awaited struct{ dialer }

// DialContext implements [proxy.Dialer].
func (a awaited) DialContext(ctx context.Context, target proxy.Target, class proxy.Class) (proxy.Conn, error) {
	c, err := a.dialer.DialContext(ctx, target, class)
	if err != nil {
		return nil, err
	}
	stream := c.(*conn)
	if err := stream.Answered(ctx); err != nil {
		stream.Reset()
		stream.Close()
		return nil, stream.explain(err)
	}
	return stream, nil
}

func unknownPeer(target proxy.Target) error {
	return &proxy.Error{
		Code: proxy.CodeUnknownName, Hop: proxy.HopGateway, Target: target,
		Reason: fmt.Sprintf("there is no peer %q", target.Peer),
		Fix:    "pair with it: run peerway expose there, and connect with the code it prints",
	}
}

// offlineWords say that a peer is not connected to the signal server, and what to do.
// elsewhere is the server at which it was paired, if this side uses another one now.
func offlineWords(peer, elsewhere string) (reason, fix string) {
	if elsewhere == "" {
		return fmt.Sprintf("the peer %q is offline", peer), "start peerway there and check its network"
	}
	return fmt.Sprintf("the peer %q was paired at the signal server %s; this side uses another one now, to which %[1]q is not connected", peer, elsewhere),
		fmt.Sprintf("to go back, run peerway connect with a code of %q; else start peerway expose there with --signal and the URL of the new one, and pair again", peer)
}

// explainDial tells a person why there is no tunnel to the peer of target. elsewhere is as in
// offlineWords.
func explainDial(target proxy.Target, elsewhere string, err error) error {
	e := &proxy.Error{Code: proxy.CodeNoPath, Hop: proxy.HopPath, Target: target, Err: err}
	near := ""
	spent, isSpent := errors.AsType[*tunnel.QuotaError](err)
	if errors.Is(err, tunnel.ErrNotNear) {
		near = fmt.Sprintf(", and %q was not found in the local network", target.Peer)
	}
	switch {
	case errors.Is(err, signal.ErrDisconnected):
		explainDisconnected(e, near)
	case errors.Is(err, signal.ErrOffline):
		e.Code, e.Hop = proxy.CodePeerOffline, proxy.HopPeer
		e.Reason, e.Fix = offlineWords(target.Peer, elsewhere)
		e.Reason += near
	case errors.Is(err, signal.ErrNotAllowed):
		e.Code, e.Hop = proxy.CodeNotAllowed, proxy.HopSignal
		e.Reason = fmt.Sprintf("the peer %q does not know this one any more", target.Peer)
		e.Fix = "pair again, with a fresh code of peerway expose"
	case isSpent:
		e.Reason = fmt.Sprintf("there is no direct path to the peer %q, and %v", target.Peer, spent)
		e.Fix = "wait, or ask who runs the relay for more; peerway netcheck at both ends says what keeps a direct path away"
	case errors.Is(err, tunnel.ErrNoPath):
		e.Reason = fmt.Sprintf("no packet gets through to the peer %q", target.Peer) + near
		e.Fix = "it may have just lost its network; try again"
	case errors.Is(err, tunnel.ErrPeerLost):
		e.Reason = fmt.Sprintf("the peer %q is gone", target.Peer)
		e.Fix = "it may have just lost its network; try again"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err // the viewer left, or waited long enough
	default:
		e.Code, e.Hop = proxy.CodeOther, proxy.HopGateway
		e.Reason = "this gateway is ending, or something unforeseen happened"
	}
	return e
}

// explainDisconnected tells why there is no signal server to introduce the two. near says
// that the peer was looked for without.
func explainDisconnected(e *proxy.Error, near string) {
	e.Hop = proxy.HopSignal
	e.Reason = "this gateway has no connection to the signal server, which introduces the two" + near
	e.Fix = "check this machine's network; the gateway keeps trying"
	if near != "" {
		e.Fix = fmt.Sprintf("check this machine's network, and that peerway runs at %q; the gateway keeps trying", e.Target.Peer)
	}
	if refused, ok := errors.AsType[*client.RefusedError](e.Err); ok && refused.Code == client.WrongPin {
		e.Reason = "the signal server has another key than the one that this gateway knows, so it is not used" + near
		e.Fix = "if it was set up anew, start peerway expose there with the URL that it prints now, and pair again with a fresh code; if not, somebody may be posing as it"
	}
}

// A conn is a stream to a service of a peer as a [proxy.Conn]: what the peer
// refuses comes as a [*proxy.Error].
type conn struct {
	*tunnel.Outgoing
	target proxy.Target
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// Reset ends the stream abruptly, so that the other end does not take it for a
// proper end.
func (c *conn) Reset() { c.Stream.Reset(resetAborted) }

// resetAborted is the code of a stream whose other half broke.
const resetAborted = 1

// explain makes what the peer answered, the loss of the tunnel, or that of the
// connection behind it, an error for people.
func (c *conn) explain(err error) error {
	if errors.Is(err, lane.ErrLost) {
		return &proxy.Error{
			Code: proxy.CodeNoPath, Hop: proxy.HopPath, Target: c.target, Err: err,
			Reason: fmt.Sprintf("the tunnel to the peer %q was lost", c.target.Peer),
			Fix:    "it may have been restarted, or have lost its network; try again",
		}
	}
	if reset, ok := errors.AsType[*lane.ResetError](err); ok && reset.Code == resetAborted && !reset.Local {
		return &proxy.Error{
			Code: proxy.CodeUpstream, Hop: proxy.HopServer, Target: c.target, Err: err,
			Reason: "it broke the connection off, or said something that is not understood",
			Fix:    "check on the other side what the service is",
		}
	}
	refused, ok := errors.AsType[*lane.RefusedError](err)
	if !ok {
		return err
	}
	e := &proxy.Error{Code: proxy.CodeOther, Hop: proxy.HopPeer, Target: c.target, Reason: printable(refused.Text), Err: err}
	switch code := proxy.Code(refused.Code); code {
	case proxy.CodeUpstream:
		e.Code, e.Hop = code, proxy.HopServer
		e.Fix = "check the server and its address at the peer's end"
	case proxy.CodeNotAllowed:
		e.Code = code
		e.Fix = "pair again, with a fresh code of peerway expose"
	case proxy.CodeUnknownName:
		e.Code = code
		e.Fix = "check the name, and what peerway expose shares there"
	}
	if e.Reason == "" {
		e.Reason = "the peer refuses and does not say why"
	}
	return e
}

// printable returns text that came from a peer without what could disturb a
// terminal or a log.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 512)])
}

// An incoming is a stream that a peer opened, as proxy/export wants it.
type incoming struct {
	*lane.Stream
	peer string // the name that it has here, or its id
}

// newIncoming returns in with the name of its peer.
func newIncoming(in *tunnel.Incoming, names *book) *incoming {
	name, ok := names.name(in.Peer)
	if !ok {
		name = in.Peer.String() // cannot be a name: it is too long
	}
	return &incoming{Stream: in.Stream, peer: name}
}

// Peer implements export.Incoming.
func (i *incoming) Peer() string { return i.peer }

// Service implements export.Incoming.
func (i *incoming) Service() string { return i.Stream.Header().Service }

// Answer implements export.Incoming.
func (i *incoming) Answer(code proxy.Code, text string) error {
	return i.Stream.Answer(uint16(code), text)
}

// Reset ends the stream abruptly, so that the gateway does not take it for a
// proper end.
func (i *incoming) Reset() { i.Stream.Reset(resetAborted) }
