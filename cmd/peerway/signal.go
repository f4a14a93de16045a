package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"peerway/cmd/peerway/state"
	"peerway/signal"
	"peerway/signal/hostport"
	"peerway/signal/relay"
	"peerway/signal/server"
	"peerway/tunnel/network"
)

// signal returns the command of the signal server's role.
func (p *program) signal() *cobra.Command {
	var flags signalFlags
	cmd := &cobra.Command{
		Use:   "signal",
		Short: "Run the server that introduces peers and relays what cannot go direct",
		Long: `Signal runs the server by which peers find each other. It needs one public TCP port, and UDP at the same
number. It cannot read what peers say to each other.

Where the public address is not one of this machine, as behind a router or in many clouds, use
--listen :7443 and write the public address into the URL it prints. So too for both IPv4 and IPv6, with a
name that has addresses of both: --listen NAME:7443 listens on one of them.

On standard output: "ready URL" when it is open. The URL carries the server's key and the secret to join
it: give it to "peerway expose --signal URL" and keep it to yourself. The key is made on the first start
and kept in the state folder.

With --relay-only it relays on UDP and nothing else, for signal servers on other machines. Then the line
is "ready relay://…": give that to "peerway signal --relay", or keep it out of the list of processes in
$PEERWAY_RELAYS; whoever has it may relay. Peers get the three relays with the most to
spare, and use the one by which they are nearest to each other.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			relays, err := flags.check(cmd)
			if err != nil {
				return usageError(cmd, err)
			}
			if flags.only {
				return p.runRelay(cmd.Context(), flags)
			}
			return p.runSignal(cmd.Context(), flags, relays)
		},
	}
	cmd.Flags().StringVar(&flags.address, "listen", ":7443", "HOST:PORT to listen on; peers are told HOST")
	cmd.Flags().Uint32Var(&flags.rate, "relay-rate", 0, "Mbit/s that two peers may use at each relay on UDP, and one may send on its websocket; 0 is no limit")
	cmd.Flags().Uint32Var(&flags.quota, "relay-quota", 0, "MiB that two peers may use in a day (UTC) at each relay on UDP, and on websockets; 0 is no limit")
	cmd.Flags().IntVar(&flags.capacity, "relay-capacity", 1000, "Mbit/s that all may relay here on UDP, to divide them among relays; 0: nothing is relayed here on UDP")
	cmd.Flags().StringArrayVar(&flags.relays, "relay", nil, "URL that peerway signal --relay-only printed elsewhere; may be given several times (default $PEERWAY_RELAYS, with spaces between)")
	cmd.Flags().BoolVar(&flags.only, "relay-only", false, "relay on UDP for signal servers elsewhere, and do nothing else")
	p.stateFlag(cmd)
	return cmd
}

// signalFlags are the flags of the command.
type signalFlags struct {
	address     string
	rate, quota uint32
	capacity    int
	relays      []string
	only        bool
}

// The most that flags may say, so that what is counted in bytes stays within its type.
const (
	maxRelayRate  = 1_000_000
	maxRelayQuota = 1_000_000_000
)

// check returns the relays that the flags name, or what is wrong with them.
func (f signalFlags) check(cmd *cobra.Command) (relays []signal.RelayURL, err error) {
	if err := checkAddress(f.address, 7443); err != nil {
		return nil, err
	}
	switch {
	case f.rate > maxRelayRate:
		return nil, fmt.Errorf("--relay-rate %d is more than %d", f.rate, maxRelayRate)
	case f.quota > maxRelayQuota:
		return nil, fmt.Errorf("--relay-quota %d is more than %d", f.quota, maxRelayQuota)
	case f.capacity < 0 || f.capacity > maxRelayRate:
		return nil, fmt.Errorf("--relay-capacity %d: want 0 to %d", f.capacity, maxRelayRate)
	case f.only && f.capacity == 0:
		return nil, errors.New("--relay-capacity 0 leaves nothing to do for one with --relay-only")
	}
	for _, name := range []string{"relay", "relay-rate", "relay-quota"} {
		if f.only && cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--%s is for the signal server, not for one with --relay-only", name)
		}
	}
	if len(f.relays) == 0 && !f.only {
		f.relays = strings.Fields(os.Getenv("PEERWAY_RELAYS"))
	}
	for _, text := range f.relays {
		u, err := signal.ParseRelayURL(text)
		if err != nil {
			return nil, fmt.Errorf("--relay: %w", err)
		}
		relays = append(relays, u)
	}
	return relays, nil
}

// config returns what the server needs that the flags and dir say.
func (f signalFlags) config(dir *state.Dir, p *program) (server.Config, error) {
	remembered, err := dir.Server()
	if err != nil {
		return server.Config{}, err
	}
	capacity := f.capacity
	if capacity == 0 {
		capacity = -1
	}
	return server.Config{
		Listen: f.address, State: remembered, Save: dir.SaveServer, Log: p.log(), Capacity: capacity,
		Relay: relay.Limits{Rate: uint32(uint64(f.rate) * 1_000_000 / 8 / 1024), Quota: f.quota},
	}, nil
}

func (p *program) runSignal(ctx context.Context, flags signalFlags, relays []signal.RelayURL) error {
	address := flags.address
	dir, err := p.openState()
	if err != nil {
		return err
	}
	defer dir.Close()
	cfg, err := flags.config(dir, p)
	if err != nil {
		return err
	}
	cfg.Relays = relays
	if host, _, _ := net.SplitHostPort(address); host == "" || net.ParseIP(host).IsUnspecified() {
		cfg.Addresses = localAddrs
	}
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	return runWithControl(ctx, dir, answers{report: func() report { return reportServer(s, address) }}, p.log(), func(ctx context.Context) error {
		ctx, fail := context.WithCancelCause(ctx)
		defer fail(nil)
		defer background(ctx, fail, func(ctx context.Context) error {
			return explainPublic(s.Run(ctx))
		})()
		select {
		case <-s.Ready():
			url := s.URL(publicHost(address))
			p.out.print("ready", url.String())
			p.hint("Beside the camera run:\n\n    peerway expose --signal %s cam=rtsp://…\n", url)
		case <-ctx.Done():
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
}

// runRelay is runSignal for a relay with a machine of its own.
func (p *program) runRelay(ctx context.Context, flags signalFlags) error {
	dir, err := p.openState()
	if err != nil {
		return err
	}
	defer dir.Close()
	cfg, err := flags.config(dir, p)
	if err != nil {
		return err
	}
	r, err := server.NewRelay(cfg)
	if err != nil {
		return err
	}
	return runWithControl(ctx, dir, answers{report: func() report { return reportRelay(r, flags.address) }}, p.log(), func(ctx context.Context) error {
		ctx, fail := context.WithCancelCause(ctx)
		defer fail(nil)
		defer background(ctx, fail, func(ctx context.Context) error { return explainPublic(r.Run(ctx)) })()
		select {
		case <-r.Ready():
			url := r.URL(publicHost(flags.address))
			p.out.print("ready", url.Text())
			p.hint("On the machine of the signal server run:\n\n    peerway signal --relay %s\n", url.Text())
		case <-ctx.Done():
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
}

// explainPublic says what to do when a server cannot listen.
func explainPublic(err error) error {
	instead := "choose another address with --listen"
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		instead += " (behind a router, or in a cloud that maps a public address to this machine: " +
			"--listen :PORT, and write that address into the URL it prints)"
	}
	return explainListen(err, instead)
}

// reportServer describes the signal server s.
func reportServer(s *server.Server, address string) report {
	r := report{Role: "signal", Peers: []peerReport{}, Tunnels: []tunnelReport{}}
	select {
	case <-s.Ready():
		r.Signal = signalReport{URL: s.URL(publicHost(address)).Redacted(), Connected: true}
		r.Sessions = s.Online()
	default:
	}
	for _, m := range s.Relays() {
		r.Relays = append(r.Relays, reportLoad(m.Status(time.Now())))
	}
	return r
}

// reportRelay describes the relay r.
func reportRelay(r *server.Relay, address string) report {
	report := report{Role: "relay", Peers: []peerReport{}, Tunnels: []tunnelReport{}}
	select {
	case <-r.Ready():
		report.Relays = []relayReport{reportLoad(relay.Status{Where: r.URL(publicHost(address)).Redacted(), Load: r.Load(), Well: true})}
	default:
	}
	return report
}

func reportLoad(s relay.Status) relayReport {
	r := relayReport{Where: s.Where, Well: s.Well, Sessions: s.Load.Sessions, Rate: s.Load.Rate, Capacity: s.Load.Capacity}
	if s.Heard >= 0 {
		heard := s.Heard.Milliseconds()
		r.Heard = &heard
	}
	return r
}

// publicHost returns the host by which peers can reach a server that listens on
// address: the one given there, or the best address of this machine.
func publicHost(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return host
	}
	best, addrs := "127.0.0.1", localAddrs()
	for _, better := range []func(netip.Addr) bool{
		func(ip netip.Addr) bool { return ip.Is4() && ip.IsGlobalUnicast() },
		func(ip netip.Addr) bool { return ip.Is6() && hostport.IsPublic(ip) },
		func(ip netip.Addr) bool { return ip.Is4() && ip.IsPrivate() },
		func(ip netip.Addr) bool { return ip.Is4() && hostport.IsPublic(ip) },
	} {
		if i := slices.IndexFunc(addrs, better); i >= 0 {
			best = addrs[i].String()
		}
	}
	return best
}

// localAddrs returns the addresses of this machine, the best first.
func localAddrs() []netip.Addr {
	addrs, _ := network.Lasting() // none is as good as an error
	return addrs
}
