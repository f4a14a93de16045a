package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// status returns the command that asks a running process about itself.
func (p *program) status() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running peerway does: peers, tunnels and their paths",
		Long: `Status asks the peerway that uses the state folder what it does.

With --json it prints one object, which has an "error" if there is no answer. Fields are only ever added to it.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := askStatus(cmd.Context(), p.statePath())
			if err != nil {
				return p.failed(cmd.Context(), asJSON, err)
			}
			if asJSON {
				return json.NewEncoder(p.stdout).Encode(r)
			}
			if r.stale() { // to be asked has its paths measured
				pause(cmd.Context(), measureIn)
				if now, err := askStatus(cmd.Context(), p.statePath()); err == nil {
					r = now
				}
			}
			return r.write(p.stdout)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

// measureIn is how long a process takes to measure the paths of idle tunnels.
const measureIn = 1200 * time.Millisecond

// freshFor is how long what is known of a path says how it is.
const freshFor = 5 * time.Second

// stale reports whether nothing is known of how the path of some tunnel is now.
func (r report) stale() bool {
	return slices.ContainsFunc(r.Tunnels, func(u tunnelReport) bool {
		return !slices.ContainsFunc(u.Paths, func(p pathReport) bool { return p.InUse && p.age() < freshFor })
	})
}

// silentAfter is how long nothing is heard on a tunnel before that is said. One that carries
// nothing is kept alive with a packet each 5 s.
const silentAfter = 7 * time.Second

// silent returns for how long nothing was heard on the tunnel, or 0 if that is not long. The
// peer may have died: that is certain, and the tunnel ended, after 15 s only.
func (u tunnelReport) silent() time.Duration {
	least := time.Duration(math.MaxInt64)
	for _, p := range u.Paths {
		if p.Heard != nil {
			least = min(least, time.Duration(*p.Heard)*time.Millisecond)
		}
	}
	if least < silentAfter || least == math.MaxInt64 {
		return 0
	}
	return least.Round(time.Second)
}

func (p pathReport) age() time.Duration { return time.Duration(p.Age) * time.Millisecond }

// A report is what a process says about itself.
type report struct {
	Schema  int             `json:"schema"` // 1
	Role    string          `json:"role"`   // "signal", "relay", "peer", "gateway", "peer+gateway" or "demo"
	Name    string          `json:"name"`
	ID      string          `json:"id"`
	Signal  signalReport    `json:"signal"`
	Peers   []peerReport    `json:"peers"`
	Exposes []serviceReport `json:"exposes,omitempty"` // peer: its services
	Tunnels []tunnelReport  `json:"tunnels"`
	Port    *portReport     `json:"port,omitempty"` // that the router has opened; missing: none

	Sessions    int           `json:"sessions,omitempty"` // signal: how many peers are logged in
	Relays      []relayReport `json:"relays,omitempty"`   // signal: on UDP; relay: itself
	PID         int           `json:"pid"`
	Goroutines  int           `json:"goroutines"`
	Descriptors int           `json:"descriptors"` // open files and sockets; 0 where that is not known
}

type signalReport struct {
	URL       string `json:"url"` // without the join secret
	Connected bool   `json:"connected"`
	Why       string `json:"why,omitempty"`        // it is not, for people
	WhyAge    int64  `json:"why_age_s,omitempty"`  // since when, or since the last attempt
	Retry     int64  `json:"retry_in_s,omitempty"` // until the next attempt; 0: it is under way
}

// trouble says for people why there is no connection.
func (r signalReport) trouble() string {
	text := "trying again"
	if r.Retry > 0 {
		text += fmt.Sprintf(" in %d s", r.Retry)
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	if r.WhyAge > 0 {
		text += fmt.Sprintf(" (%d s ago)", r.WhyAge)
	}
	return text
}

type portReport struct {
	Address string `json:"address"` // public, as the router says
	Reached bool   `json:"reached"` // a packet has come in by it; if not, no peer is told of it
}

type relayReport struct {
	Where    string `json:"where"` // "here", or its URL without the key
	Well     bool   `json:"well"`  // it has answered the last question
	Sessions uint32 `json:"sessions"`
	Rate     uint32 `json:"mbit_s"`
	Capacity uint32 `json:"capacity_mbit_s"`
	Heard    *int64 `json:"heard_ms,omitempty"` // ago: all else is as of then; missing: never
}

type peerReport struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	Online   bool     `json:"online"`
	Services []string `json:"services"`

	URLs map[string]string `json:"urls,omitempty"` // gateway: where services are on this machine

	PairedAt string `json:"paired_at,omitempty"` // the signal server, if another one is used now

	Failure *failureReport `json:"failure,omitempty"` // of the last attempt to reach it

	Remembered bool `json:"remembered,omitempty"` // the services are those of an earlier life; nothing was heard since
}

type tunnelReport struct {
	Peer     string  `json:"peer"`
	Path     string  `json:"path"` // "direct", "relay-udp", "relay-ws", or "none" as yet
	Remote   string  `json:"remote"`
	RTT      float64 `json:"rtt_ms,omitempty"` // missing: not known
	Streams  int     `json:"streams"`
	BytesIn  int64   `json:"bytes_in"`
	BytesOut int64   `json:"bytes_out"`
	Idle     int64   `json:"idle_s"`
	Up       int64   `json:"up_s"`

	Exhausted string `json:"exhausted,omitempty"` // which relays carry nothing any more, and until when

	Paths []pathReport `json:"paths,omitempty"` // that there are; the best kind first

	Why        string   `json:"why,omitempty"`         // as in a pong
	Hitch      string   `json:"hitch,omitempty"`       // the same
	Limits     []string `json:"limits,omitempty"`      // the same
	PeerLimits []string `json:"peer_limits,omitempty"` // the same
}

// A pathReport is how good a path is, as of the last second in which there was a stream, or
// somebody asked for a report.
type pathReport struct {
	Path     string  `json:"path"`
	Remote   string  `json:"remote"`
	InUse    bool    `json:"in_use"`
	RTT      float64 `json:"rtt_ms,omitempty"` // missing: not known
	Loss     float64 `json:"loss"`             // 0 to 1
	BytesIn  int64   `json:"bytes_in_s"`       // in a second, of the path in use
	BytesOut int64   `json:"bytes_out_s"`
	Heard    *int64  `json:"heard_ms,omitempty"` // ago; missing: never
	Age      int64   `json:"age_ms"`             // of all that
}

// askStatus asks the process that uses the state folder at path.
func askStatus(ctx context.Context, path string) (r report, err error) {
	err = ask(ctx, path, http.MethodGet, statusPath, nil, &r, 5*time.Second)
	return r, err
}

// write writes r for people.
func (r report) write(w io.Writer) error {
	connected := "connected"
	if !r.Signal.Connected {
		connected = "not connected, " + r.Signal.trouble()
	}
	switch r.Role {
	case "signal":
		fmt.Fprintf(w, "signal server (process %d), %s\n", r.PID, r.Signal.URL)
		return r.writeRelays(w)
	case "relay":
		fmt.Fprintf(w, "relay (process %d)\n", r.PID)
		return r.writeRelays(w)
	}
	fmt.Fprintf(w, "%s %s (process %d)\n", r.Role, r.Name, r.PID)
	fmt.Fprintf(w, "signal server %s, %s\n", r.Signal.URL, connected)
	if r.Port != nil {
		fmt.Fprintf(w, "router port %s, %s\n", r.Port.Address,
			map[bool]string{true: "open to paired peers", false: "open as the router says, but nothing has come in by it"}[r.Port.Reached])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Exposes) > 0 {
		fmt.Fprintln(t, "\nEXPOSED\tCHECKED\tSTATE")
	}
	for _, s := range r.Exposes {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, s.seen(), s.state())
	}
	t.Flush()
	if len(r.Peers) > 0 {
		fmt.Fprintln(t, "\nPEER\tSTATE\tSERVICES")
	}
	for _, p := range r.Peers {
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, r.stateOf(p)+r.silenceOf(p), cmp.Or(strings.Join(p.Services, ", "), "-"))
	}
	t.Flush()
	if len(r.Tunnels) > 0 {
		fmt.Fprintln(t, "\nTUNNEL\tPATH\tREMOTE\tRTT\tLOSS\tSTREAMS\tIN\tOUT\tUP")
	}
	for _, u := range r.Tunnels {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%v\n", u.Peer, u.Path, cmp.Or(u.Remote, "-"), u.roundTrip(), u.loss(), u.Streams,
			byteCount(u.BytesIn), byteCount(u.BytesOut), time.Duration(u.Up)*time.Second)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.writeTroubles(w)
}

// writeTroubles writes what is not as it could be, and why.
func (r report) writeTroubles(w io.Writer) error {
	for _, p := range r.Peers {
		if err := p.Failure.write(w); err != nil {
			return err
		}
	}
	for _, u := range r.Tunnels {
		if u.Exhausted != "" {
			fmt.Fprintf(w, "\n%s: %s\n", u.Peer, u.Exhausted)
		}
		for _, f := range r.reasons(u) {
			if err := f.write(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// state says in words whether a service answers.
func (s serviceReport) state() string {
	switch {
	case s.Answers && s.Streams > 0:
		return "in use"
	case s.Answers:
		return "answers"
	case s.Age == nil:
		return "being tried"
	}
	return "does not answer: " + s.Why
}

// seen says when that was seen.
func (s serviceReport) seen() string {
	switch {
	case s.Age == nil:
		return "-"
	case *s.Age == 0:
		return "now"
	}
	return (time.Duration(*s.Age) * time.Second).String() + " ago"
}

// write writes f, if there is one, for people.
func (f *failureReport) write(w io.Writer) error {
	if f == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%v ago: %s\n", time.Duration(f.Age)*time.Second, f.Reason)
	if err == nil && f.Fix != "" {
		_, err = fmt.Fprintf(w, "  what to do: %s\n", f.Fix)
	}
	return err
}

// isGone reports whether the signal server says that a peer is offline.
func (r report) isGone(peer string) bool {
	return r.Signal.Connected && slices.ContainsFunc(r.Peers, func(p peerReport) bool { return p.Name == peer && !p.Online })
}

// silenceOf says that a peer with a tunnel was not heard of late.
func (r report) silenceOf(p peerReport) string {
	for _, u := range r.Tunnels {
		if silent := u.silent(); u.Peer == p.Name && silent > 0 {
			return fmt.Sprintf(", but silent for %v", silent)
		}
	}
	return ""
}

// reasons says why a tunnel does not go direct. Of one that is silent, there is worse to say.
func (r report) reasons(u tunnelReport) []found {
	if u.silent() > 0 || r.isGone(u.Peer) {
		return nil
	}
	return diagnose(&facts{Peer: u.Peer, Pong: &pong{
		Peer: u.Peer, Path: u.Path, Why: u.Why, Hitch: u.Hitch, Limits: u.Limits, PeerLimits: u.PeerLimits,
	}}, []string{stepDirect})
}

// roundTrip returns that of the path in use.
func (u tunnelReport) roundTrip() string {
	if u.RTT == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", u.RTT)
}

// loss returns that of the path in use.
func (u tunnelReport) loss() string {
	for _, p := range u.Paths {
		if p.InUse && p.RTT > 0 {
			loss := fmt.Sprintf("%.0f %%", 100*p.Loss)
			if age := p.age(); age >= freshFor {
				loss += fmt.Sprintf(" (%v ago)", age.Round(time.Second))
			}
			return loss
		}
	}
	return "-"
}

// writeRelays writes what the relays on UDP have to do.
func (r report) writeRelays(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Relays) > 0 {
		fmt.Fprintln(t, "\nRELAY\tSTATE\tSESSIONS\tMBIT/S\tOF")
	}
	for _, u := range r.Relays {
		switch {
		case u.Well:
			fmt.Fprintf(t, "%s\twell\t%d\t%d\t%d\n", u.Where, u.Sessions, u.Rate, u.Capacity)
		case u.Heard == nil:
			fmt.Fprintf(t, "%s\tdoes not answer\t-\t-\t-\n", u.Where)
		default:
			fmt.Fprintf(t, "%s\tsilent for %v\t-\t-\t%d\n", u.Where, (time.Duration(*u.Heard) * time.Millisecond).Round(time.Second), u.Capacity)
		}
	}
	return t.Flush()
}

// byteCount writes n with the unit that suits it.
func byteCount(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", value, units[unit])
}

// openDescriptors counts the open files and sockets of this process, or returns
// 0 where that is not known.
func openDescriptors() int {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if entries, err := os.ReadDir(dir); err == nil {
			return len(entries) - 1 // reading the folder takes one
		}
	}
	return 0
}
