package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// ping returns the command that asks a peer whether it is there.
func (p *program) ping() *cobra.Command {
	var (
		count  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Ask a peer whether it is there, and on which path",
		Long: `Ping asks a peer through the running peerway, once a second, and tells the path of every answer. It ends when
the tunnel goes direct; or after ten answers, or some more if it is not known by then why it does not. What stands in the way of a direct path on either side is said as soon
as it is known, and in the end what came of the attempts. With --count it asks so often.

With --json it prints one object for each answer, or one with "error" where there is none. Fields are only ever added.`,
		Args: exactly(1, "PEER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 {
				return usageError(cmd, fmt.Errorf("--count %d is less than nothing", count))
			}
			target, err := targetOf(args[0], nil)
			if err != nil {
				return usageError(cmd, fmt.Errorf("%.80q: %w", args[0], err))
			}
			return p.runPing(cmd.Context(), target.Peer, count, asJSON)
		},
	}
	cmd.Flags().IntVarP(&count, "count", "c", 0, "how often to ask; 0 is until the path is direct, 15 times at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

const (
	pingEvery   = time.Second
	pingsEnough = 10 // answers, if it is known why there is no direct path
	pingsMost   = 15 // the first attempt at one takes up to twelve seconds
)

func (p *program) runPing(ctx context.Context, peer string, count int, asJSON bool) error {
	r := pinging{program: p, peer: peer, asJSON: asJSON}
	for i := 0; i < count || count == 0 && i < pingsMost && !(i >= pingsEnough && r.last.explained()); i++ {
		if i > 0 {
			if pause(ctx, pingEvery); ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		answer, err := r.wait(func() (pong, error) { return p.askPing(ctx, peer) })
		if err != nil {
			return r.failed(ctx, err)
		}
		if err := r.heard(answer); err != nil {
			return err
		}
		if count == 0 && answer.Path == "direct" {
			return nil
		}
	}
	if r.last.Path != "direct" && !asJSON {
		fmt.Fprintf(p.stdout, "no direct path: %s\n", r.last.because(peer))
	}
	return nil
}

// A pinging is a run of ping, and what it has told so far.
type pinging struct {
	*program
	peer   string
	asJSON bool
	last   pong
	told   []string // codes of findings
}

// A pinged is what ping --json prints of each answer, or of there being none.
type pinged struct {
	*pong
	Findings []found   `json:"findings,omitempty"` // why the tunnel does not go direct
	Error    *askError `json:"error,omitempty"`
}

// wait returns what ask returns. Each second without that, a person is told of it.
func (r *pinging) wait(ask func() (pong, error)) (answer pong, err error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	done := make(chan struct{})
	asking.Go(func() {
		defer close(done)
		answer, err = ask()
	})
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for waited := pingEvery; ; waited += pingEvery {
		select {
		case <-done:
			return answer, err
		case <-tick.C:
			if !r.asJSON {
				r.tell("no answer from %s for %v", r.peer, waited)
			}
		}
	}
}

// failed tells programs of err, and returns it.
func (r *pinging) failed(ctx context.Context, err error) error {
	if !r.asJSON || ctx.Err() != nil {
		return err
	}
	answer := struct {
		Peer string `json:"peer"`
		pinged
	}{r.peer, pinged{Error: asAskError(err)}}
	return errors.Join(err, json.NewEncoder(r.stdout).Encode(answer))
}

// heard tells of an answer.
func (r *pinging) heard(answer pong) error {
	before := r.last.Path
	r.last = answer
	reasons := diagnose(&facts{Peer: r.peer, Pong: &answer}, []string{stepDirect})
	if r.asJSON {
		return json.NewEncoder(r.stdout).Encode(pinged{pong: &answer, Findings: reasons})
	}
	if err := answer.write(r.program, before); err != nil {
		return err
	}
	for _, f := range reasons {
		if f.Code == "relayed" || slices.Contains(r.told, f.Code) { // the one is said in the end
			continue
		}
		r.told = append(r.told, f.Code)
		if err := f.write(r.stdout); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) askPing(ctx context.Context, peer string) (answer pong, err error) {
	err = ask(ctx, p.statePath(), http.MethodPost, pingPath, url.Values{"peer": {peer}}, &answer, answerWithin+5*time.Second)
	return answer, err
}

// write tells a person of an answer that came after one on the path before, if any.
func (a pong) write(p *program, before string) error {
	over := " over " + a.Path
	if a.Remote != "" {
		over += " (" + a.Remote + ")"
	}
	if a.Path == "none" {
		over = ", before a path was settled,"
	}
	_, err := fmt.Fprintf(p.stdout, "pong from %s%s in %.1f ms\n", a.Peer, over, a.RTT)
	if err == nil && a.Path == "direct" && before != "" && before != "direct" {
		p.tell("the tunnel goes direct now")
	}
	return err
}
