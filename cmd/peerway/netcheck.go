package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"peerway/signal/client"
	"peerway/tunnel/network"
)

// netcheck returns the command that says what this network is like.
func (p *program) netcheck() *cobra.Command {
	var (
		server string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "Say what this network is like: UDP, NAT, addresses",
		Long: `Netcheck asks the signal server what it sees of this network, and says what that means for tunnels. It asks
by itself: no peerway needs to run. It also has the router open a port, has the signal server send to it, and closes
it again.

With --json it prints one object. Fields are only ever added. The exit code is 0 also where something is in
the way of direct paths; it is 6 if the signal server cannot be reached.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := &facts{}
			if running, err := askStatus(cmd.Context(), p.statePath()); err == nil {
				f.Running = &running
			}
			var err error
			if f.URL, err = p.serverOf(server, f.Running); err != nil {
				return err
			}
			f.lookAtNetwork(cmd.Context())
			return p.tellNetwork(f, asJSON)
		},
	}
	askFlag(cmd, &server)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

// askFlag adds --signal to a command that asks a signal server.
func askFlag(cmd *cobra.Command, server *string) {
	cmd.Flags().StringVar(server, "signal", os.Getenv("PEERWAY_SIGNAL"),
		"HOST:PORT or URL of the signal server to ask (default $PEERWAY_SIGNAL, or the one that is known here)")
	cmd.Flags().Lookup("signal").DefValue = "" // said above, and secret
}

// A networkReport is what netcheck says.
type networkReport struct {
	Schema    int      `json:"schema"` // 1
	Verdict   string   `json:"verdict"`
	Server    string   `json:"server"`
	Proxy     string   `json:"proxy,omitempty"`
	UDP       bool     `json:"udp"`
	Asked     bool     `json:"udp_asked"`         // false: whether UDP passes is not known
	RTT       float64  `json:"rtt_ms,omitempty"`  // to the signal server, over UDP
	Mapped    string   `json:"mapped,omitempty"`  // of IPv4 if UDP passes there, else of IPv6
	Mapped6   string   `json:"mapped6,omitempty"` // of IPv6, if UDP passes there
	Mapping   string   `json:"mapping"`           // "none", "endpoint", "dependent" or "" if it is not known
	Filtering string   `json:"filtering"`         // the same
	Delta     int      `json:"delta,omitempty"`
	Hairpin   bool     `json:"hairpin"`
	IPv6      bool     `json:"ipv6"`               // this host has a global address
	Router    string   `json:"router,omitempty"`   // the default gateway
	Opens     []string `json:"opens_ports_by"`     // what the router speaks: "pcp", "nat-pmp", "upnp"
	Opened    string   `json:"opened,omitempty"`   // the port that the router opened for a trial
	Tried     bool     `json:"port_tried"`         // false: whether packets come in there is not known
	Reached   bool     `json:"port_reached"`       // they do
	External  string   `json:"external,omitempty"` // the router's public address, as it says
	Addresses []string `json:"addresses"`
	Findings  []found  `json:"findings"`
}

// aboutNetwork are the steps that netcheck looks at.
func aboutNetwork() []string { return []string{stepNetwork, stepServer, stepUDP, stepNAT} }

func (p *program) tellNetwork(f *facts, asJSON bool) error {
	r := networkReport{
		Schema: 1, Verdict: verdict(f), Server: f.Server, Proxy: f.Proxy, UDP: f.NAT.Mapped.IsValid(), Asked: f.Probed, RTT: milliseconds(f.NAT.RTT),
		Mapping: string(f.NAT.Mapping), Filtering: string(f.NAT.Filtering), Delta: f.NAT.Delta, Hairpin: f.NAT.Hairpin,
		Addresses: []string{}, Opens: []string{}, Tried: f.Tried, Reached: f.Router.Reached, Findings: diagnose(f, aboutNetwork()),
	}
	if r.UDP {
		r.Mapped = f.NAT.Mapped.String()
	} else {
		r.RTT = 0
	}
	if f.Mapped6.IsValid() {
		r.Mapped6 = f.Mapped6.String()
	}
	for _, protocol := range f.Router.Protocols {
		r.Opens = append(r.Opens, string(protocol))
	}
	if f.Router.Gateway.IsValid() {
		r.Router = f.Router.Gateway.String()
	}
	if f.Router.External.IsValid() {
		r.External = f.Router.External.String()
	}
	if f.Router.Opened.IsValid() {
		r.Opened = f.Router.Opened.String()
	}
	for _, a := range f.Addresses {
		r.IPv6 = r.IPv6 || isGlobal6(a)
		r.Addresses = append(r.Addresses, a.String())
	}
	var err error
	if asJSON {
		err = json.NewEncoder(p.stdout).Encode(r)
	} else {
		err = r.write(p.stdout)
	}
	if err == nil && (f.Server == "" || f.Hello != nil) {
		err = somethingWrong(exitNoPath, r.Findings)
	}
	return err
}

// somethingWrong is how a command ends that has said what is wrong.
func somethingWrong(code int, said []found) error {
	if n := len(atLeast(broken, said)); n != 1 {
		return fail(code, "%d things are wrong", n)
	}
	return fail(code, "1 thing is wrong")
}

// isRefused reports whether a server was reached and is not the right one.
func isRefused(err error) bool {
	_, ok := errors.AsType[*client.RefusedError](err)
	return ok
}

// verdict says in one line what the network means for tunnels.
func verdict(f *facts) string {
	switch n := f.NAT; {
	case f.Server == "":
		return "no signal server is known, so there is nobody to ask"
	case errors.Is(f.Hello, client.ErrNotSignal):
		return "there is no Peerway signal server at " + f.Server + ": no tunnel can be made but in the local network"
	case isRefused(f.Hello):
		return "the signal server is another one than the one that is known here, and not asked: no tunnel can be made but in the local network"
	case f.Hello != nil:
		return "the signal server cannot be reached: no tunnel can be made but in the local network; those that are up go on"
	case !f.Probed:
		return "unknown: nobody could be asked what UDP does here; everything goes over the websocket of the signal server where it does not pass"
	case !n.Mapped.IsValid():
		return "no UDP: everything goes over the websocket of the signal server"
	case f.onlyIPv6():
		return "IPv6 only: direct with nearly all peers that have IPv6 too, over the relay with those that have IPv4 only"
	case n.Mapped.Addr().Is6():
		return "UDP passes with IPv6, and with IPv4 it does not, or the signal server has none: direct with peers that have IPv6 too"
	case n.Mapping == network.None && n.Filtering == network.None:
		return "open: every peer that sends UDP can be reached directly"
	case n.Filtering == network.Endpoint:
		return "easy: every peer that sends UDP can be reached directly"
	case f.opens():
		return "easy: the router opens a port, so that every peer that sends UDP can be reached directly"
	case n.Mapping == network.Dependent:
		return "hard: direct with most peers, over the relay with those behind a NAT like this one"
	case n.Mapping == network.Unknown:
		return "UDP passes: direct with most peers"
	}
	return "good: direct with nearly all peers; it takes some seconds where their NAT gives every destination another port"
}

// write writes r for people.
func (r networkReport) write(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", r.Verdict)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, text string) { fmt.Fprintf(t, "%s\t%s\n", name, cmp.Or(text, "-")) }
	line("signal server", r.Server)
	switch {
	case r.UDP:
		line("UDP", fmt.Sprintf("passes, %.1f ms", r.RTT))
	case r.Asked:
		line("UDP", "does not pass")
	default:
		line("UDP", "not known: nobody could be asked")
	}
	line("public address", strings.Join(slices.Compact([]string{r.Mapped, cmp.Or(r.Mapped6, r.Mapped)}), ", "))
	line("NAT", r.nat())
	line("router opens ports", r.opens())
	line("IPv6", map[bool]string{true: "yes", false: "no"}[r.IPv6])
	line("addresses", strings.Join(r.Addresses, ", "))
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if err := f.write(w); err != nil {
			return err
		}
	}
	return nil
}

// opens says in words whether the router opens ports.
func (r networkReport) opens() string {
	by := strings.Join(r.Opens, ", ")
	switch {
	case by == "":
		return "no"
	case r.Reached:
		return "yes, by " + by
	case r.Opened == "":
		return "no, though it speaks " + by
	case r.Tried:
		return "it says so, by " + by + ", but nothing comes in"
	}
	return "it says so, by " + by
}

// nat describes the NAT in words.
func (r networkReport) nat() string {
	var words []string
	switch network.Behaviour(r.Mapping) {
	case network.None:
		words = append(words, "none")
	case network.Endpoint:
		words = append(words, "one port for all destinations")
	case network.Dependent:
		words = append(words, "another port for each destination")
		if r.Delta != 0 {
			words = append(words, fmt.Sprintf("%+d from the last", r.Delta))
		}
	}
	if network.Behaviour(r.Filtering) == network.Dependent {
		words = append(words, "lets in only who was sent to")
	}
	if r.Hairpin && network.Behaviour(r.Mapping) != network.None {
		words = append(words, "hairpin")
	}
	return strings.Join(words, ", ")
}

// write writes f for people.
func (f found) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\n%s: %s\n", f.Code, f.Text)
	if err == nil && f.Fix != "" {
		_, err = fmt.Fprintf(w, "  what to do: %s\n", f.Fix)
	}
	return err
}
