package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/spf13/cobra"

	"peerway/cmd/peerway/state"
	"peerway/signal/relay"
	"peerway/signal/server"
)

// signal returns the command of the signal server's role.
func (p *program) signal() *cobra.Command {
	var address string
	var rate uint32
	cmd := &cobra.Command{
		Use:   "signal",
		Short: "Run the server that introduces peers and relays what cannot go direct",
		Long: `Signal runs the server by which peers find each other. It needs one public TCP port, and UDP at the same
number. It cannot read what peers say to each other.

Where the public address is not one of this machine, as behind a router or in many clouds, use
--listen :7443 and write the public address into the URL it prints.

On standard output: "ready URL" when it is open. The URL carries the server's key and the secret to join
it: give it to "peerway expose --signal URL" and keep it to yourself. The key is made on the first start
and kept in the state folder.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkAddress(address, 7443); err != nil {
				return usageError(cmd, err)
			}
			if rate > maxRelayRate {
				return usageError(cmd, fmt.Errorf("--relay-rate %d is more than %d", rate, maxRelayRate))
			}
			return p.runSignal(cmd.Context(), address, rate)
		},
	}
	cmd.Flags().StringVar(&address, "listen", ":7443", "HOST:PORT to listen on; peers are told HOST")
	cmd.Flags().Uint32Var(&rate, "relay-rate", 0, "Mbit/s that two peers may relay on UDP, and one peer on its websocket; 0 is no limit")
	p.stateFlag(cmd)
	return cmd
}

// maxRelayRate keeps the rate in KiB/s within its type.
const maxRelayRate = 1_000_000

func (p *program) runSignal(ctx context.Context, address string, rate uint32) error {
	dir, err := p.openState()
	if err != nil {
		return err
	}
	defer dir.Close()
	s, err := newServer(dir, address, rate, p)
	if err != nil {
		return err
	}
	return runWithControl(ctx, dir, answers{report: func() report { return reportServer(s, address) }}, func(ctx context.Context) error {
		ctx, fail := context.WithCancelCause(ctx)
		defer fail(nil)
		defer background(ctx, fail, func(ctx context.Context) error {
			err, instead := s.Run(ctx), "choose another address with --listen"
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				instead += " (behind a router, or in a cloud that maps a public address to this machine: " +
					"--listen :PORT, and write that address into the URL it prints)"
			}
			return explainListen(err, instead)
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

// newServer returns a signal server whose state is in dir, which relays so many Mbit/s.
func newServer(dir *state.Dir, address string, rate uint32, p *program) (*server.Server, error) {
	remembered, err := dir.Server()
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Listen: address, State: remembered, Save: dir.SaveServer, Log: p.log(),
		Relay: relay.Limits{Rate: uint32(uint64(rate) * 1_000_000 / 8 / 1024)},
	})
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
		func(ip netip.Addr) bool { return !ip.Is4() && ip.IsGlobalUnicast() && !ip.IsPrivate() },
		func(ip netip.Addr) bool { return ip.Is4() && ip.IsPrivate() },
		func(ip netip.Addr) bool { return ip.Is4() && ip.IsGlobalUnicast() && !ip.IsPrivate() },
	} {
		for _, ip := range addrs {
			if better(ip) {
				best = ip.String()
				break
			}
		}
	}
	return best
}

// localAddrs returns the addresses of this machine.
func localAddrs() (addrs []netip.Addr) {
	all, _ := net.InterfaceAddrs() // none is as good as an error
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs
}
