package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"peerway/proxy"
)

// ls returns the command that lists what can be reached.
func (p *program) ls() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the services of paired peers",
		Long: `Ls asks the running peerway which services its peers expose, and where they can be opened on this machine.

A peer is online or offline; unpaired, if it has removed this one, which is found out by the first
attempt to reach it; unknown, if there is no connection to the signal server; or remembered,
if there has been none yet, and the services are those of last time. Such peers are looked for in
the local network when something is wanted of them.

With --json it prints one object for each service, or one with "error" if there is no answer. Fields are only ever added.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := askStatus(cmd.Context(), p.statePath())
			if err != nil {
				return p.failed(cmd.Context(), asJSON, err)
			}
			if len(r.Peers) == 0 && !asJSON {
				p.tell("No peer is paired with this one: run peerway expose at the other end, then peerway connect with the code it prints.")
			}
			t := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
			if !asJSON {
				fmt.Fprintln(t, "SERVICE\tPEER\tSTATE\tURL")
			}
			for _, l := range r.services() {
				if asJSON {
					err = json.NewEncoder(p.stdout).Encode(l)
				} else {
					_, err = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", cmp.Or(l.Service, "-"), l.Peer, l.State, cmp.Or(l.URL, "-"))
				}
				if err != nil {
					return err
				}
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

// A listed is a service of a peer; or a peer without any, as far as is known.
type listed struct {
	Service string `json:"service,omitempty"`
	Peer    string `json:"peer"`
	State   string `json:"state"`         // "online", "offline", "unpaired", "unknown" or "remembered"
	URL     string `json:"url,omitempty"` // on this machine, if that is a gateway
}

// services lists what the peers of r expose.
func (r report) services() (all []listed) {
	for _, p := range r.Peers {
		l := listed{Peer: p.Name, State: r.stateOf(p)}
		for _, s := range p.Services {
			l.Service, l.URL = s, p.URLs[s]
			all = append(all, l)
		}
		if len(p.Services) == 0 {
			all = append(all, l)
		}
	}
	return all
}

// stateOf says in a word whether a peer is online. A peer with a tunnel is, whatever the
// signal server says.
func (r report) stateOf(p peerReport) string {
	switch {
	case slices.ContainsFunc(r.Tunnels, func(t tunnelReport) bool { return t.Peer == p.Name }):
		return "online"
	case !r.Signal.Connected && p.Remembered:
		return "remembered" // of an earlier life of this process
	case !r.Signal.Connected:
		return "unknown" // what the server said last may be hours old
	case !p.Online && p.Failure != nil && p.Failure.Code == proxy.CodeNotAllowed.String():
		return "unpaired" // to this one the server calls it offline until it is asked to introduce the two
	case !p.Online:
		return "offline"
	}
	return "online"
}
