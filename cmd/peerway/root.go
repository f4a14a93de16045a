package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"

	"peerway/cmd/peerway/state"
)

// A program is what the commands share: where they write, and the flags that
// all of them take.
type program struct {
	out            *lines // what programs may rely on
	stdout, stderr io.Writer
	verbose        bool
	stateDir       string // empty means the default
	noLAN          bool   // leave the local networks alone
	metered        bool   // the line is paid for by the byte
	noPort         bool   // leave the router alone
}

const longHelp = `Peerway makes HTTP and RTSP servers behind other people's NATs reachable at localhost.

Three commands on three machines put a camera at home into a player elsewhere:

  peerway signal --listen 203.0.113.10:7443        on a public address; prints URL
  peerway expose --signal URL cam=rtsp://…         beside the camera; prints CODE
  peerway connect CODE                             beside the player; prints what to open

"peerway demo" shows all of it on one machine.

Exit codes: 0 ok (also after SIGTERM), 1 other, 2 usage, 4 unknown name, 5 peer offline,
6 no path, 7 upstream, 8 not allowed, 9 config, 130 interrupted (SIGINT).`

// root returns the command line of the program.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "peerway",
		Short:         "Cameras and web servers behind NATs, at localhost",
		Long:          longHelp,
		Version:       version(),
		SilenceErrors: true, // main prints them
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, args)
			}
			return cmd.Help()
		},
	})
	root.SetVersionTemplate("peerway {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
	root.PersistentFlags().BoolVarP(&p.verbose, "verbose", "v", false, "log every connection")
	root.AddCommand(p.signal(), p.expose(), p.connect(), p.up(), p.demo(), p.status(), p.ls(), p.ping(), p.netcheck(), p.doctor(), p.version())
	return root
}

// stateFlag adds --state to cmd.
func (p *program) stateFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.stateDir, "state", os.Getenv("PEERWAY_STATE"),
		"folder for keys and paired peers (default $PEERWAY_STATE, or "+defaultState()+")")
	cmd.Flags().Lookup("state").DefValue = "" // said above
}

// meteredFlag adds --metered to cmd.
func (p *program) meteredFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.metered, "metered", false, "look for direct paths without the thousands of packets that some NATs need")
}

// lanFlag adds --no-lan to cmd.
func (p *program) lanFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.noLAN, "no-lan", false, "without the signal server, do not look for paired peers in the local network, nor answer them")
}

// portFlag adds --no-port-mapping to cmd.
func (p *program) portFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.noPort, "no-port-mapping", false, "do not ask the router to let packets of paired peers in (PCP, NAT-PMP, UPnP)")
}

// statePath returns the state folder to use.
func (p *program) statePath() string {
	if p.stateDir != "" {
		return p.stateDir
	}
	return defaultState()
}

func defaultState() string { return filepath.Join(xdg.StateHome, "peerway") }

// openState opens the state folder. The caller closes it.
func (p *program) openState() (*state.Dir, error) { return state.Open(p.statePath()) }

// log returns the log for people.
func (p *program) log() *slog.Logger {
	if p.verbose {
		return newLog(p.stderr, slog.LevelDebug)
	}
	return newLog(p.stderr, slog.LevelInfo)
}

// tell writes a line for people.
func (p *program) tell(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...)
}

// hint writes a line with a secret for the person who has just started the
// program. Without a terminal it would be a secret in a log.
func (p *program) hint(format string, args ...any) {
	if isTerminal(p.stderr) {
		p.tell(format, args...)
	}
}

// unknownCommand is the argument check of the root: what follows it must be one
// of its commands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	guess := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		guess = ", did you mean " + strings.Join(near, " or ") + "?"
	}
	name, _, _ := strings.Cut(args[0], "=") // of a service, if expose was forgotten: its URL may hold a password
	return usageError(cmd, fmt.Errorf("unknown command %q%s", name, guess))
}

// atMost is the check of a command that takes up to n arguments. It does not
// repeat what there is too much: it may hold a password.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) <= n:
			return nil
		case n == 0:
			return usageError(cmd, errors.New("this command takes no argument, only flags"))
		}
		return usageError(cmd, fmt.Errorf("%d arguments where at most %d can be", len(args), n))
	}
}

// exactly is the check of a command that takes n arguments, called names.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageError(cmd, fmt.Errorf("%s is missing", names))
		}
		return atMost(n)(cmd, args)
	}
}

func usageError(cmd *cobra.Command, err error) error {
	return fail(exitUsage, "%w (see %s --help)", err, cmd.CommandPath())
}

// version returns the command that prints the version.
func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  atMost(0),
		RunE: func(*cobra.Command, []string) error {
			p.out.print("peerway", version(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
			return nil
		},
	}
}

// version returns the version that the build recorded.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
