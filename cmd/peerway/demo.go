package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"peerway/cmd/peerway/site"
	"peerway/cmd/peerway/state"
	"peerway/proxy"
	"peerway/rtsp/loop"
	"peerway/signal"
	"peerway/signal/server"
)

// demo returns the command that shows everything on one machine.
func (p *program) demo() *cobra.Command {
	at := defaultListen()
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show everything on this machine, with a built-in camera and web site",
		Long: `Demo runs a signal server, a peer with a camera and a web site, and a gateway in one process. They
talk to each other as if they were on three machines: over real connections, paired with a code.

On standard output: a line "service SERVICE PEER URL" for each thing to open, then "ready".`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := at.check(); err != nil {
				return usageError(cmd, err)
			}
			return p.runDemo(cmd, at)
		},
	}
	at.flags(cmd)
	p.stateFlag(cmd)
	cmd.Flags().Lookup("state").Usage = "folder for the demo's keys (default: a temporary one)"
	return cmd
}

// The demo's own names.
const (
	demoPeer     = "home"
	demoGateway  = "laptop"
	demoUser     = "demo"
	demoPassword = "stays-at-home" // asked by the camera; viewers never need it
)

func (p *program) runDemo(cmd *cobra.Command, at listen) (err error) {
	path := p.stateDir
	if !cmd.Flags().Changed("state") { // $PEERWAY_STATE is for the real ones
		if path, err = os.MkdirTemp("", "peerway-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(path)
	}
	dir, err := state.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	level := slog.LevelWarn // of four programs, what each has to say is too much
	if p.verbose {
		level = slog.LevelDebug
	}
	d := &demo{program: p, dir: dir, at: at, log: newLog(p.stderr, level)}
	if !cmd.Flags().Changed("http") {
		d.at.http = d.freeAddress(at.http)
	}
	if !cmd.Flags().Changed("rtsp") {
		d.at.rtsp = d.freeAddress(at.rtsp)
	}
	return runWithControl(cmd.Context(), dir, answers{report: d.report, peers: d}, d.log, d.Run)
}

// A demo is a whole network in one process.
type demo struct {
	*program
	dir     *state.Dir // borrowed
	at      listen
	log     *slog.Logger
	gateway atomic.Pointer[node] // nil before it is there
}

// Run shows everything until ctx is done or a part fails.
//
// When Run returns, everything it opened is closed and every goroutine it
// started has returned: the gateway first, the camera last.
func (d *demo) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	cam := loop.New(loop.Config{User: demoUser, Password: demoPassword, Log: d.log})
	defer background(ctx, fail, cam.Run)()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open the web site: %w", err)
	}
	defer background(ctx, fail, func(ctx context.Context) error { return serveSite(ctx, web) })()
	introducer, err := server.New(server.Config{Listen: "127.0.0.1:0", State: server.NewState(), Log: d.log})
	if err != nil {
		return err
	}
	defer background(ctx, fail, introducer.Run)()
	if err := await(ctx, cam.Ready(), introducer.Ready()); err != nil {
		return err
	}

	services, err := parseServices([]string{"cam=" + cam.URL(), "web=http://" + web.Addr().String()})
	if err != nil {
		return err
	}
	codes := make(chan signal.Code, 1)
	home := nodeConfig{
		name: demoPeer, url: introducer.URL("127.0.0.1"), services: services, loopback: true, log: d.log,
		told: told{code: func(code signal.Code) {
			select {
			case codes <- code:
			default: // one is enough
			}
		}},
	}
	if home.dir, err = state.Open(filepath.Join(d.dir.Path(), demoPeer)); err != nil {
		return err
	}
	defer home.dir.Close()
	peer, err := newNode(home)
	if err != nil {
		return err
	}
	defer background(ctx, fail, peer.Run)()
	select {
	case code := <-codes:
		return d.watch(ctx, code)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A place is where to open a service.
type place struct{ service, url string }

// watch is the gateway's side: it pairs with code and shows what can be opened,
// until ctx is done.
func (d *demo) watch(ctx context.Context, code signal.Code) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	dir, err := state.Open(filepath.Join(d.dir.Path(), demoGateway))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.SaveSelf(state.Self{Name: demoGateway}); err != nil {
		return err
	}
	if err := d.pair(ctx, dir, code, d.log); err != nil {
		return err
	}
	places := make(chan place, 2) // never more services than these two
	cfg := nodeConfig{dir: dir, gateway: &d.at, loopback: true, log: d.log, told: told{service: func(service, peer, url string) {
		d.out.print("service", service, peer, url)
		places <- place{service, url}
	}}}
	if err := cfg.remembered(); err != nil {
		return err
	}
	gateway, err := newNode(cfg)
	if err != nil {
		return err
	}
	d.gateway.Store(gateway)
	defer background(ctx, fail, gateway.Run)()
	urls := map[string]string{}
	for len(urls) < cap(places) {
		select {
		case at := <-places:
			urls[at.service] = at.url
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	d.out.print("ready")
	d.explain(urls)
	<-ctx.Done()
	return context.Cause(ctx)
}

// explain tells a person what to open.
func (d *demo) explain(urls map[string]string) {
	d.tell(`
  A camera and a web site, exposed by the peer %q, through an encrypted tunnel, at localhost:

    browser   %s
    ffplay    ffplay %s
    VLC       vlc %s
    tunnels   %s status --state %s

  The VLC that Debian, Ubuntu and Raspberry Pi OS package has no RTSP: take ffplay there, or VLC's snap.
  Ctrl-C ends it all.
`, demoPeer, urls["web"], urls["cam"], urls["cam"], os.Args[0], d.dir.Path())
}

// login implements asker.
func (d *demo) login(ctx context.Context) {
	if gateway := d.gateway.Load(); gateway != nil {
		gateway.login(ctx)
	}
}

// ping implements asker.
func (d *demo) ping(ctx context.Context, peer string) (pong, error) {
	if gateway := d.gateway.Load(); gateway != nil {
		return gateway.ping(ctx, peer)
	}
	return pong{}, unknownPeer(proxy.Target{Peer: peer})
}

// check implements asker.
func (d *demo) check(ctx context.Context, peer, service string) error {
	if gateway := d.gateway.Load(); gateway != nil {
		return gateway.check(ctx, peer, service)
	}
	return unknownPeer(proxy.Target{Peer: peer})
}

// report describes the demo as its gateway sees it.
func (d *demo) report() report {
	r := report{Peers: []peerReport{}, Tunnels: []tunnelReport{}}
	if gateway := d.gateway.Load(); gateway != nil {
		r = gateway.report()
	}
	r.Role = "demo"
	return r
}

// freeAddress returns address, or a free port of the same host if another
// program has that port.
func (d *demo) freeAddress(address string) string {
	ln, err := net.Listen("tcp", address)
	if err == nil {
		ln.Close()
		return address
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return address // the gateway will say what is wrong
	}
	d.tell("Another program uses %s: taking a free port instead.", address)
	host, _, _ := net.SplitHostPort(address)
	return net.JoinHostPort(host, "0")
}

// serveSite serves the web site on ln until ctx is done. It takes ownership of
// ln.
//
// When it returns, every connection is closed and every handler has returned.
func serveSite(ctx context.Context, ln net.Listener) error {
	var conns connCount
	defer conns.Wait()
	s := &http.Server{
		Handler:           site.Handler(),
		ConnState:         conns.changed,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	err := s.Serve(ln)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("serve the web site: %w", err)
}

// await waits until all of ready are closed or ctx is done.
func await(ctx context.Context, ready ...<-chan struct{}) error {
	for _, r := range ready {
		select {
		case <-r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
