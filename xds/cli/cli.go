// Package cli is Keywheel's command line: it reads flags and settings, and hands over to the program or to the admin API
// of one that runs.
//
// Exit codes: 0 as asked; 2 if the settings are refused; 1 for every other failure. What a command is asked for goes to
// standard output, all else to standard error. No secret goes to either.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"keywheel/xds/app"
	"keywheel/xds/config"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitRefused = 2
)

// Program is the command line with what it stands on.
type Program struct {
	Version string
	Environ []string // as os.Environ gives it
	Stdout  io.Writer
	Stderr  io.Writer

	// The program itself. Each returns once ctx ends or it cannot go on; a config.Problem among its errors counts as
	// settings that are refused.
	Run         func(ctx context.Context, opts app.Options) error
	Serve       func(ctx context.Context, opts app.Options) error
	EnvoyConfig func(ctx context.Context, opts app.Options) error // writes Envoy's configuration to opts.Stdout

	Wasm []byte // the filter's module; empty: the program was built without it
}

// Execute runs the command that args name, without the program's own name, and returns the exit code.
func (p *Program) Execute(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(p.Stderr, "keywheel: "+message(err))
	if refused(err) {
		return exitRefused
	}
	return exitFailed
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keywheel",
		Short: "Keeps Groq traffic flowing through Envoy, over all your API keys",
		Long: `Keywheel puts the right Groq API key on every call that passes your Envoy, keeps the
account of what each key spent, and goes on to the next key before one runs out.

Keys are read from the environment, .env or keywheel.yaml: GROQ_API_KEY_1, GROQ_API_KEY_2, …
Try it without any key: keywheel run --demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hinted{err, "See `" + cmd.CommandPath() + " --help`."}
	})
	root.AddCommand(p.runCommand(), p.serveCommand(), p.statusCommand(), p.keysCommand(), p.eventsCommand(), p.summaryCommand(),
		p.notifyCommand(), p.proxiesCommand(), p.backupCommand(), p.restoreCommand(), p.checkCommand(), p.healthCommand(), p.envoyConfigCommand(),
		p.wasmCommand(), p.versionCommand())
	return root
}

// load reads the settings.
func (p *Program) load(keysOptional bool) (*config.Config, []config.Warning, error) {
	return config.Load(p.settings(keysOptional))
}

// settings are what the settings are read from.
func (p *Program) settings(keysOptional bool) config.Options {
	return config.Options{Environ: p.Environ, KeysOptional: keysOptional}
}

// getenv is os.Getenv on the program's environment.
func (p *Program) getenv(name string) string {
	for _, pair := range p.Environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// printf writes to standard output.
func (p *Program) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Stdout, format, args...)
	return err
}

// hinted is an error with what to try.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// message is an error as a person reads it: settings that are refused one a line, a hint on a line of its own.
func message(err error) string {
	text := err.Error()
	var problems config.Problems
	if errors.As(err, &problems) {
		text = "the settings are refused\n" + problems.Error()
	}
	var h hinted
	if errors.As(err, &h) {
		text += "\n" + h.hint
	}
	return strings.ReplaceAll(text, "\n", "\n  ")
}

// refused says whether the settings are at fault.
func refused(err error) bool {
	var problem config.Problem
	return errors.As(err, &problem)
}
