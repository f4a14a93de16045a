package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// doctor returns the command that finds out what is wrong.
func (p *program) doctor() *cobra.Command {
	var (
		server string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "doctor [PEER[/SERVICE] | SERVICE | URL]",
		Short: "Find out what does not work, hop by hop, and what to do about it",
		Long: `Doctor goes the way of a connection, from this machine to the signal server, the peer and the real server, and
tells of every step whether it works (✔), works but not as well as it could (!), or does not work (✘), why, and
what to do. A SERVICE that only one peer has is enough, and so is its URL on this machine. What lies behind a step that does not work is not known (·).

With --json it prints one object. Fields are only ever added, and the codes do not change. The exit code is 0 if
every step works, also where a tunnel is relayed, and 1 if one does not.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var what string
			if len(args) > 0 {
				what = args[0]
				if _, err := targetOf(what, nil); err != nil {
					return usageError(cmd, fmt.Errorf("%.80q: %w", what, err))
				}
			}
			return p.runDoctor(cmd.Context(), what, server, asJSON)
		},
	}
	askFlag(cmd, &server)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

func (p *program) runDoctor(ctx context.Context, what, server string, asJSON bool) error {
	f := &facts{}
	switch running, err := askStatus(ctx, p.statePath()); {
	case err == nil:
		f.Running = &running
	case !errors.Is(err, errNotRunning):
		return err
	}
	if what != "" {
		f.aim(what)
	}
	var err error
	if f.URL, err = p.serverOf(server, f.Running); err != nil {
		return err
	}
	t := telling{out: p.stdout, f: f, silent: func() bool { return asJSON || ctx.Err() != nil }}
	f.lookAtHost()
	t.upTo(stepNetwork)
	f.lookAtNetwork(ctx)
	t.upTo(stepRunning)
	p.lookAtLogin(ctx, f)
	t.upTo(stepLogin)
	if f.Running != nil && f.Peer != "" {
		p.lookAtPeer(ctx, f)
		t.upTo(stepDirect)
		p.lookAtService(ctx, f)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.upTo(stepService)
	d := newDiagnosis(f)
	if asJSON {
		err = json.NewEncoder(p.stdout).Encode(d)
	} else {
		err = d.write(p.stdout)
	}
	if err == nil && len(atLeast(broken, d.Findings)) > 0 {
		err = somethingWrong(exitOther, d.Findings)
	}
	return err
}

// aim says what doctor was asked about, which names a target.
func (f *facts) aim(what string) {
	var peers []peerReport
	if f.Running != nil {
		peers = f.Running.Peers
	}
	target, _ := targetOf(what, peers)
	f.Peer, f.Service = target.Peer, target.Service
}

// lookAtLogin has a process that is not logged in try again, if the server can be reached, and
// looks once more.
func (p *program) lookAtLogin(ctx context.Context, f *facts) {
	if f.Running == nil || f.Running.Signal.Connected || f.Hello != nil {
		return
	}
	err := ask(ctx, p.statePath(), http.MethodPost, loginPath, nil, new(struct{}), loginWithin+time.Second)
	if err != nil {
		return // it is an older one, or has ended
	}
	if running, err := askStatus(ctx, p.statePath()); err == nil {
		f.Running = &running
	}
}

// lookAtPeer fills in what concerns the peer. A tunnel that has just been made is given a
// moment to become direct.
func (p *program) lookAtPeer(ctx context.Context, f *facts) {
	for range 4 {
		answer, err := p.askPing(ctx, f.Peer)
		if err != nil {
			f.PongErr = asAskError(err)
			return
		}
		f.Pong = &answer
		if answer.Path == "direct" || answer.Why != "" || ctx.Err() != nil {
			break
		}
		pause(ctx, pingEvery)
	}
}

// lookAtService fills in what concerns the service.
func (p *program) lookAtService(ctx context.Context, f *facts) {
	if f.Service == "" || f.Pong == nil {
		return
	}
	values := url.Values{"peer": {f.Peer}, "service": {f.Service}}
	if err := ask(ctx, p.statePath(), http.MethodPost, checkPath, values, new(struct{}), answerWithin+5*time.Second); err != nil {
		f.ServiceErr = asAskError(err)
	}
}

func asAskError(err error) *askError {
	if e, ok := errors.AsType[*askError](err); ok {
		return e
	}
	return newAskError(err)
}

// A diagnosis is what doctor says.
type diagnosis struct {
	Schema   int     `json:"schema"` // 1
	Peer     string  `json:"peer,omitempty"`
	Service  string  `json:"service,omitempty"`
	Path     string  `json:"path,omitempty"` // of the tunnel with the peer
	Steps    []step  `json:"steps"`
	Findings []found `json:"findings"`
}

// A step is one hop of the way.
type step struct {
	Name  string `json:"name"`
	State string `json:"state"` // "ok", "limited" (it works, but less well than it could), "wrong" or "unknown"
}

func newDiagnosis(f *facts) diagnosis {
	d := diagnosis{Schema: 1, Peer: f.Peer, Service: f.Service, Findings: diagnose(f, steps())}
	if f.Pong != nil {
		d.Path = f.Pong.Path
	}
	bad := atLeast(limit, d.Findings)
	for _, name := range steps() {
		s := step{Name: name, State: "ok"}
		at := func(b found) bool { return b.Step == name }
		switch {
		case slices.ContainsFunc(atLeast(broken, bad), at):
			s.State = "wrong"
		case slices.ContainsFunc(bad, at):
			s.State = "limited"
		case name == stepTunnel && f.Pong != nil: // whatever is wrong before: in a local network no server is needed
		case !f.looked(name) || explainedAway(name, bad):
			s.State = "unknown"
		}
		if s.State != "unknown" || f.asked(name) {
			d.Steps = append(d.Steps, s)
		}
	}
	return d
}

// asked reports whether a step is on the way that doctor was asked about.
func (f *facts) asked(name string) bool {
	switch name {
	case stepPeer, stepTunnel, stepDirect:
		return f.Peer != ""
	case stepService:
		return f.Service != ""
	}
	return true
}

// looked reports whether enough is known to say that a step works.
func (f *facts) looked(name string) bool {
	switch name {
	case stepServer:
		return f.Server != "" && f.Hello == nil
	case stepUDP, stepNAT:
		return f.Probed
	case stepLogin:
		return f.Running != nil
	case stepDirect:
		return f.direct() || f.relayed()
	case stepPeer, stepTunnel:
		return f.Pong != nil || name == stepPeer && f.PongErr != nil && (f.PongErr.Code == "unknown-name" || f.Running != nil && f.Running.Signal.Connected)
	case stepService:
		return f.Pong != nil && f.Service != ""
	}
	return true
}

// explainedAway reports whether all that could be wrong with a step is explained by what
// is wrong before it.
func explainedAway(name string, bad []found) bool {
	explained := false
	for _, d := range findings() {
		if d.step != name || d.weight == remark {
			continue
		}
		if !slices.ContainsFunc(bad, func(b found) bool { return slices.Contains(d.after, b.Code) }) {
			return false
		}
		explained = true
	}
	return explained
}

// write writes what d has found, for people. The steps were told.
func (d diagnosis) write(w io.Writer) error {
	for _, f := range d.Findings {
		if err := f.write(w); err != nil {
			return err
		}
	}
	return nil
}

// A telling tells people of steps as they become known, which may take long.
type telling struct {
	out    io.Writer
	f      *facts
	silent func() bool
	told   int // of steps()
}

// upTo tells of the steps to the last one that is known now, but for those that may yet be
// seen in another light.
func (t *telling) upTo(last string) {
	if t.silent() {
		return
	}
	marks := map[string]string{"ok": "✔", "limited": "!", "wrong": "✘", "unknown": "·"}
	d := newDiagnosis(t.f)
	for _, name := range steps()[t.told : slices.Index(steps(), last)+1] {
		i := slices.IndexFunc(d.Steps, func(s step) bool { return s.Name == name })
		if i >= 0 && name == stepNAT && d.Steps[i].State == "limited" && last != stepDirect && last != stepService {
			return // if the tunnel goes direct, nothing is in the way
		}
		if i >= 0 {
			fmt.Fprintf(t.out, "%s %s\n", marks[d.Steps[i].State], name)
		}
		t.told++
	}
}
