package main

import (
	"path/filepath"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"peerway/signal"
)

// up returns the command that runs both roles from a file.
func (p *program) up() *cobra.Command {
	usual := filepath.Join(xdg.ConfigHome, "peerway", "peerway.yaml")
	var path string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run both roles from a configuration file, as a service",
		Long: `Up exposes services, is a gateway, or both, as its configuration file says:

` + configExample + `

It prints what expose and connect print. To pair this gateway with a peer, run "peerway connect CODE"
once with the same --state, while up does not run.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runUp(cmd, path) },
	}
	cmd.Flags().StringVar(&path, "config", usual, "the configuration file")
	p.lanFlag(cmd)
	p.portFlag(cmd)
	p.meteredFlag(cmd)
	p.stateFlag(cmd)
	return cmd
}

func (p *program) runUp(cmd *cobra.Command, path string) error {
	file, err := readConfig(path)
	if err != nil {
		return err
	}
	if readableByOthers(path) {
		p.tell("Warning: other users can read %s, and with it passwords and the secret of the signal server: run chmod 600 %s", path, path)
	}
	dir, err := p.openState()
	if err != nil {
		return err
	}
	defer dir.Close()
	cfg := nodeConfig{dir: dir, url: file.signal, services: file.services, gateway: file.gateway, log: p.log()}
	if cfg.url == (signal.URL{}) {
		if cfg.url, err = signalURL(dir, ""); err != nil {
			return fail(exitConfig, "%s: no signal server is known: add the key signal, with the URL that peerway signal printed", path)
		}
	}
	if cfg.name, cfg.insist, err = ownName(dir, file.name); err != nil {
		return err
	}
	n, err := p.node(cfg)
	if err != nil {
		return err
	}
	if file.gateway != nil {
		file.gateway.warn(p.tell)
	}
	return runNode(cmd.Context(), n)
}
