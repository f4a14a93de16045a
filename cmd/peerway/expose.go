package main

import (
	"cmp"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"peerway/cmd/peerway/state"
	"peerway/signal"
)

// expose returns the command of the peer's role.
func (p *program) expose() *cobra.Command {
	var server, name string
	cmd := &cobra.Command{
		Use:   "expose [--signal URL] [--name NAME] SERVICE=URL|@FILE …",
		Short: "Share cameras and web servers of this network with paired peers",
		Long: `Expose offers services of this machine, or of its network, to the peers it is paired with.

  peerway expose --signal peerway://203.0.113.10:7443/… \
      cam=rtsp://admin:secret@192.168.1.20:554/stream1 web=http://192.168.1.1:80

URLs may be rtsp, rtsps, rtsps+insecure, http, https and https+insecure (insecure: any certificate will
do). User and password of a camera stay here, but on the command line other users of this machine can see
them: SERVICE=@FILE takes the URL from the first line of a file, and SERVICE=@- from standard input. Each service is tried; one that does not
answer is offered too, for it may come back, and tried again until it does. One that dies later is
noticed with the first stream to it; peerway status tells of all.

On standard output: "ready NAME" when it is logged in and has tried the services, then "pair CODE" with a code that lets one peer
in within ten minutes. When it is used or too old, the next one follows.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, errors.New("nothing to share: want SERVICE=URL, for example cam=rtsp://192.168.1.20:554/stream1"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			urls := reading{stdin: cmd.InOrStdin(), tell: p.tell, ask: p.hint}
			given := args
			args, err := interruptible(cmd.Context(), func() ([]string, error) { return urls.arguments(given) })
			if err != nil {
				return fail(exitConfig, "%w", err)
			}
			services, err := parseServices(args)
			if err != nil {
				return usageError(cmd, err)
			}
			return p.runExpose(cmd, server, name, services)
		},
	}
	cmd.Flags().StringVar(&server, "signal", "", "URL that peerway signal printed (default $PEERWAY_SIGNAL, or the one of last time)")
	cmd.Flags().StringVar(&name, "name", "", "name of this peer (default: the one of last time, or the host name)")
	p.lanFlag(cmd)
	p.portFlag(cmd)
	p.meteredFlag(cmd)
	p.stateFlag(cmd)
	return cmd
}

func (p *program) runExpose(cmd *cobra.Command, server, name string, services []service) error {
	dir, err := p.openState()
	if err != nil {
		return err
	}
	defer dir.Close()
	url, err := signalURL(dir, cmp.Or(server, os.Getenv("PEERWAY_SIGNAL")))
	if err != nil {
		return err
	}
	cfg := nodeConfig{dir: dir, url: url, typed: server != "", services: services, log: p.log()}
	if cfg.name, cfg.insist, err = ownName(dir, name); err != nil {
		return err
	}
	n, err := p.node(cfg)
	if err != nil {
		return err
	}
	return runNode(cmd.Context(), n)
}

// signalURL returns the URL of the signal server: that given, or that of last
// time.
func signalURL(dir *state.Dir, given string) (signal.URL, error) {
	if given != "" {
		u, err := signal.ParseURL(given)
		if err != nil {
			return u, fail(exitUsage, "--signal: %w", err)
		}
		return u, nil
	}
	self, err := dir.Self()
	if err == nil && self.Signal == (signal.URL{}) {
		err = fail(exitUsage, "no signal server is known: say which with --signal URL (peerway signal prints it)")
	}
	return self.Signal, err
}

// ownName returns the name to log in with, and whether a person insists on it:
// that given, that of last time, or the name of this machine.
func ownName(dir *state.Dir, given string) (name string, insist bool, err error) {
	if given != "" {
		given = strings.ToLower(given)
		if err := signal.ValidName(given); err != nil {
			return "", false, fail(exitUsage, "--name: %w", err)
		}
		return given, true, nil
	}
	self, err := dir.Self()
	if err != nil || self.Name != "" {
		return self.Name, false, err
	}
	host, _ := os.Hostname()
	return nameOf(host), false, nil
}

// nameOf makes a valid name of a host name.
func nameOf(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host)
	name = strings.Trim(name[:min(len(name), 32)], "-")
	return cmp.Or(name, "peer")
}
