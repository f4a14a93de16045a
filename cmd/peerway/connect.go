package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerway/cmd/peerway/state"
	"peerway/signal"
	"peerway/signal/client"
)

const (
	pairWithin  = 45 * time.Second // the pairing as a whole
	reachWithin = 5 * time.Second  // a connection to the signal server, while a person waits
)

// connect returns the command of the gateway's role.
func (p *program) connect() *cobra.Command {
	at := defaultListen()
	cmd := &cobra.Command{
		Use:   "connect [CODE]",
		Short: "Reach the services of paired peers at localhost",
		Long: `Connect makes the services of the peers it is paired with reachable on this machine. With a CODE that
peerway expose printed it pairs first; the pairing is remembered, so that next time no code is needed.

On standard output: "ready NAME" when it is logged in, then a line "service SERVICE PEER URL" for each
service that can be reached, also for those that come later. Each address takes HTTP and RTSP.

Without a signal server for two seconds it is ready too, with the services of last time: the peers are
looked for in the local network. If the server then gives it another name, "ready" is printed again.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := at.check(); err != nil {
				return usageError(cmd, err)
			}
			var code signal.Code
			if len(args) > 0 {
				var err error
				if code, err = signal.ParseCode(args[0]); err != nil {
					return usageError(cmd, err)
				}
			}
			return p.runConnect(cmd.Context(), code, at)
		},
	}
	at.flags(cmd)
	p.lanFlag(cmd)
	p.portFlag(cmd)
	p.meteredFlag(cmd)
	p.stateFlag(cmd)
	return cmd
}

// flags adds --http and --rtsp to cmd, with what at holds as defaults.
func (at *listen) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&at.http, "http", at.http, "HOST:PORT to listen on for browsers; :PORT is this machine only, 0.0.0.0:PORT the network too")
	cmd.Flags().StringVar(&at.rtsp, "rtsp", at.rtsp, "HOST:PORT to listen on for players, as --http")
}

// check reports what is wrong with the addresses.
func (at *listen) check() error {
	return errors.Join(checkAddress(at.http, 7480), checkAddress(at.rtsp, 8554))
}

// open reports whether the addresses can be listened on now.
func (at *listen) open() error {
	for _, address := range []string{at.http, at.rtsp} {
		if strings.HasPrefix(address, ":") {
			address = "localhost" + address // as the gateway takes it
		}
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return explainListen(err, at.instead())
		}
		ln.Close()
	}
	return nil
}

// warn tells a person about addresses that others can reach.
func (at *listen) warn(tell func(format string, args ...any)) {
	for _, address := range []string{at.http, at.rtsp} {
		host, _, _ := net.SplitHostPort(address)
		ip, err := netip.ParseAddr(host)
		if host != "" && host != "localhost" && (err != nil || !ip.IsLoopback()) {
			tell("Warning: who can reach %s can see your cameras: nobody is asked for a password there.", address)
		}
	}
}

func (p *program) runConnect(ctx context.Context, code signal.Code, at listen) error {
	dir, err := p.openState()
	if busy, ok := errors.AsType[*state.BusyError](err); ok && code != (signal.Code{}) {
		return fmt.Errorf("%w; stopped, and started again with this code, it reaches all its peers", busy)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	log := p.log()
	if code != (signal.Code{}) {
		if err := at.open(); err != nil {
			return err // before the code is spent
		}
		if err := p.pair(ctx, dir, code, log); err != nil {
			return err
		}
	}
	peers, err := dir.Peers()
	if err != nil {
		return err
	}
	if len(peers) == 0 {
		return fail(exitConfig, "no peer is known in %s: run peerway expose at the other end, then peerway connect with the code it prints", dir.Path())
	}
	cfg := nodeConfig{dir: dir, gateway: &at, log: log}
	if err := cfg.remembered(); err != nil {
		return err
	}
	n, err := p.node(cfg)
	if err != nil {
		return err
	}
	at.warn(p.tell)
	return runNode(ctx, n)
}

// remembered fills in what the state folder remembers of an earlier life: the
// signal server and the name.
func (c *nodeConfig) remembered() error {
	self, err := c.dir.Self()
	if err == nil && self.Signal == (signal.URL{}) {
		err = fail(exitConfig, "no signal server is known in %s: run peerway connect with a fresh code of peerway expose", c.dir.Path())
	}
	if err != nil {
		return err
	}
	c.url = self.Signal
	c.name, c.insist, err = ownName(c.dir, "")
	return err
}

// slowAfter is how long a pairing may take before a person is told what is waited for.
const slowAfter = 2 * time.Second

// A notice tells a person what is waited for, if that takes its time.
type notice struct {
	tell  func(format string, args ...any)
	timer *time.Timer
	said  chan struct{} // closed when it was
}

// await says that from now on what is waited for.
func (n *notice) await(what string) {
	n.over()
	said := make(chan struct{})
	n.said = said
	n.timer = time.AfterFunc(slowAfter, func() {
		defer close(said)
		n.tell("Waiting for %s …", what)
	})
}

// over ends it.
func (n *notice) over() {
	if n.timer != nil && !n.timer.Stop() {
		<-n.said
	}
	n.timer = nil
}

// pair uses a pairing code and remembers what came of it.
func (p *program) pair(ctx context.Context, dir *state.Dir, code signal.Code, log *slog.Logger) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pairWithin, fmt.Errorf("%w: no answer within %v", client.ErrUnreachable, pairWithin))
	defer cancel()
	// All that may be wrong here is found before the code is spent.
	identity, err := dir.Identity()
	if err != nil {
		return err
	}
	names, err := openBook(dir)
	if err != nil {
		return err
	}
	self, err := dir.Self()
	if err != nil {
		return err
	}
	name, _, err := ownName(dir, "")
	if err != nil {
		return err
	}
	if err := names.admits(identity.PeerID(), name, code.Addr); err != nil { // as large as the one to come
		return err
	}
	waiting := notice{tell: p.tell}
	defer waiting.over()
	waiting.await("the signal server " + code.Addr)
	dial := net.Dialer{Timeout: reachWithin}
	paired, err := client.Pair(ctx, client.PairConfig{
		Code: code, Identity: identity, Name: name,
		Connection: client.Config{Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, Log: log},
		Claimed: func() {
			waiting.await("the peerway expose that made this code; the signal server " + code.Addr + " knows it, but it does not answer")
		},
	})
	waiting.over()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // a dialer says of it only that it was canceled
		}
		return explainPair(code, names.size() > 0, err)
	}
	peer, err := names.add(paired.Peer, paired.Name, paired.URL.Addr)
	if err != nil {
		return err
	}
	log.Info("paired with a peer", "peer", peer)
	if names.size() > 1 && self.Signal.Pin != paired.URL.Pin {
		log.Warn("this gateway uses another signal server from now on; peers that stay with the old one cannot be reached",
			"remote", paired.URL.Addr)
	}
	return dir.SaveSelf(state.Self{Name: paired.MyName, Signal: paired.URL})
}

// explainPair tells a person why a code could not be used. paired says that
// there are peers already.
func explainPair(code signal.Code, paired bool, err error) error {
	fresh := "; use the code that peerway expose printed last"
	if paired {
		fresh += ", or no code to reach the peers of last time"
	}
	refused, ok := errors.AsType[*client.RefusedError](err)
	not, isNot := errors.AsType[*client.NotAdmittedError](err)
	switch {
	case errors.Is(err, signal.ErrOffline):
		return fail(exitPeerOffline, "who made this code is not connected to the signal server %s now: start peerway expose there", code.Addr)
	case isNot:
		return fail(exitNotAllowed, "%s, which made this code, cannot pair: %s; mend that there, and use the next code that it prints", not.Name, printable(not.Why))
	case errors.Is(err, client.ErrNoReply):
		return fail(exitPeerOffline, "the peerway expose that made this code does not answer: if it has just been killed or lost its network, "+
			"start it again and use the code that it prints then")
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrSilent), errors.Is(err, client.ErrNotSignal):
		f := &facts{Server: code.Addr, Hello: err}
		f.lookAtProxy()
		why := diagnose(f, []string{stepServer})[0] // there is one for each error
		return fail(exitNoPath, "%s: %s", why.Text, why.Fix)
	case !ok:
		return fmt.Errorf("reach the signal server %s: %w", code.Addr, err)
	}
	switch refused.Code {
	case client.WrongCode:
		return fail(exitNotAllowed, "the signal server %s does not know this code%s; if it is that one, the peerway expose that made it is not connected to the "+
			"server just now: wait a moment and try again", code.Addr, fresh)
	case client.CodeUsed:
		return fail(exitNotAllowed, "this code was used before%s; it prints another one within ten seconds", fresh)
	case client.CodeExpired:
		return fail(exitNotAllowed, "this code is too old, or the peerway expose that made it has ended%s", fresh)
	case client.TryLater:
		return fail(exitNotAllowed, "too many wrong codes came from here: try again in %v", refused.RetryAfter.Round(time.Second))
	}
	return fail(exitNotAllowed, "%w", refused)
}
