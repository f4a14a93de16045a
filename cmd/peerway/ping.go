package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
the tunnel goes direct, or after ten answers; then it says why there is no direct path, as far as both sides know.
With --count it asks so often.

With --json it prints one object for each answer. Fields are only ever added.`,
		Args: exactly(1, "PEER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 {
				return usageError(cmd, fmt.Errorf("--count %d is less than nothing", count))
			}
			return p.runPing(cmd.Context(), args[0], count, asJSON)
		},
	}
	cmd.Flags().IntVarP(&count, "count", "c", 0, "how often to ask; 0 is until the path is direct, ten times at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	p.stateFlag(cmd)
	return cmd
}

const (
	pingEvery = time.Second
	pingsMost = 10
)

func (p *program) runPing(ctx context.Context, peer string, count int, asJSON bool) error {
	times := count
	if count == 0 {
		times = pingsMost
	}
	var last pong
	for i := range times {
		if i > 0 {
			if pause(ctx, pingEvery); ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		answer, err := p.askPing(ctx, peer)
		if err != nil {
			return err
		}
		before := last.Path
		last = answer
		if asJSON {
			if err := json.NewEncoder(p.stdout).Encode(answer); err != nil {
				return err
			}
		} else if err := answer.write(p, before); err != nil {
			return err
		}
		if count == 0 && answer.Path == "direct" {
			return nil
		}
	}
	if last.Path != "direct" && !asJSON {
		fmt.Fprintf(p.stdout, "no direct path: %s\n", last.because(peer))
	}
	return nil
}

func (p *program) askPing(ctx context.Context, peer string) (answer pong, err error) {
	err = ask(ctx, p.statePath(), http.MethodPost, pingPath, url.Values{"peer": {peer}}, &answer, answerWithin+5*time.Second)
	return answer, err
}

// write tells a person of an answer that came after one on the path before, if any.
func (a pong) write(p *program, before string) error {
	over := a.Path
	if a.Remote != "" {
		over += " (" + a.Remote + ")"
	}
	_, err := fmt.Fprintf(p.stdout, "pong from %s over %s in %.1f ms\n", a.Peer, over, a.RTT)
	if err == nil && a.Path == "direct" && before != "" && before != "direct" {
		_, err = fmt.Fprintln(p.stdout, "the tunnel goes direct now")
	}
	return err
}
