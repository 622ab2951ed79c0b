package cli

import (
	"context"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"keywheel/xds/app"
	"keywheel/xds/clock"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/logging"
)

// flags are what run, serve and envoy-config take beside the settings.
type flags struct {
	demo        bool
	now         string
	speed       float64
	speedGiven  bool
	envoyConfig string
	output      string

	controlPlane string
}

func (p *Program) runCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the control plane and an Envoy in front of Groq",
		Long: `Runs the control plane and an Envoy that it looks after, in the foreground.
Point OpenAI clients at http://127.0.0.1:10000/v1 and Groq clients at http://127.0.0.1:10000 (KEYWHEEL_LISTEN_ADDR moves it).`,
		Example: "  keywheel run\n  keywheel run --demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.start(cmd, &f, p.Run) },
	}
	cmd.Flags().BoolVar(&f.demo, "demo", false, "use made-up keys and a simulated Groq; nothing leaves this machine")
	envoyConfigFlag(cmd, &f)
	clockFlags(cmd, &f)
	return cmd
}

func (p *Program) serveCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane alone, for an Envoy of your own",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.start(cmd, &f, p.Serve) },
	}
	clockFlags(cmd, &f)
	return cmd
}

func (p *Program) envoyConfigCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "envoy-config",
		Short: "Print Envoy's configuration for these settings",
		Long: `Prints Envoy's configuration for these settings, or writes it to a file, which then changes at once from the old
content to the new. No key is in it, and none has to be set.`,
		Example: "  keywheel envoy-config > my-envoy.json\n  keywheel envoy-config --output /run/keywheel/envoy.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := p.options(&f, true)
			if err != nil {
				return err
			}
			return p.EnvoyConfig(cmd.Context(), opts)
		},
	}
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to this `file`, in place of standard output")
	envoyConfigFlag(cmd, &f)
	cmd.Flags().StringVar(&f.controlPlane, "control-plane", "", "`host:port` by which that Envoy reaches keywheel serve, if it is on another machine")
	return cmd
}

func envoyConfigFlag(cmd *cobra.Command, f *flags) {
	cmd.Flags().StringVar(&f.envoyConfig, "envoy-config", "", "adapt this `file` in place of the built-in envoy.yaml")
}

func clockFlags(cmd *cobra.Command, f *flags) {
	cmd.Flags().StringVar(&f.now, "now", "", "for tests: begin at this `time`, such as 2025-11-18T08:00:00Z")
	cmd.Flags().Float64Var(&f.speed, "speed", 1, "for tests: how fast time goes from --now on; 0 stands still")
}

// start reads the settings and hands over to run or serve.
func (p *Program) start(cmd *cobra.Command, f *flags, program func(context.Context, app.Options) error) error {
	f.speedGiven = cmd.Flags().Changed("speed")
	opts, err := p.options(f, f.demo)
	if err != nil {
		return err
	}
	return program(cmd.Context(), opts)
}

// options turns flags and settings into what the program is started with.
func (p *Program) options(f *flags, keysOptional bool) (app.Options, error) {
	cfg, warnings, err := p.load(keysOptional)
	if err != nil {
		return app.Options{}, err
	}
	now, err := f.clock(cfg)
	if err != nil {
		return app.Options{}, err
	}
	if f.demo && len(cfg.Keys) > 0 {
		warnings = append(warnings, config.Warning{Name: "--demo", Text: "your own keys are not used; the demo makes up its own"})
	}
	return app.Options{
		Config: cfg, Warnings: warnings, Settings: p.settings(keysOptional), Clock: now, Demo: f.demo,
		EnvoyConfigPath: f.envoyConfig, EnvoyConfigOutput: f.output, ControlPlane: f.controlPlane, Version: p.Version,
		Stdout: p.Stdout, Stderr: p.Stderr,
		Log: logging.New(p.Stderr, logging.Options{
			Level: cfg.LogLevel, JSON: cfg.LogFormat == config.LogJSON, Color: logging.Colorful(p.Stderr, p.getenv), Now: now.Now,
		}),
	}, nil
}

// clock is the time to go by. Only against an upstream of this machine may it be virtual: Groq's limits end in true time.
func (f *flags) clock(cfg *config.Config) (*clock.Clock, error) {
	if f.now == "" {
		if f.speedGiven {
			return nil, config.Problem{Name: "--speed", Wrong: "it has no effect without --now", Fix: "write --now too"}
		}
		return clock.Real(), nil
	}
	now, err := time.Parse(time.RFC3339, f.now)
	if err != nil {
		return nil, config.Problem{Name: "--now", Wrong: "it is not a time", Fix: "write such as 2025-11-18T08:00:00Z"}
	}
	if err := clock.Check(now, f.speed); err != nil {
		return nil, config.Problem{Name: "--now, --speed", Wrong: err.Error()}
	}
	if !f.demo && !cfg.Upstream.Loopback() {
		return nil, config.Problem{Name: "--now", Wrong: "it is only for tests with an upstream on this machine",
			Fix: "set KEYWHEEL_UPSTREAM_URL to one, or leave --now out"}
	}
	return clock.New(now, f.speed, nil), nil
}

func (p *Program) wasmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wasm FILE",
		Short: "Write the filter's module to a file, for Envoys on other machines",
		Long: `Writes the filter's module to a file, where KEYWHEEL_WASM and Envoys on other machines or in other
containers find it. A file that holds another module is left alone, as an Envoy may be using it.`,
		Example: "  keywheel wasm /opt/keywheel/keywheel.wasm",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return envoy.WriteWasmFile(args[0], p.Wasm) },
	}
}

func (p *Program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return p.printf("keywheel %s (%s, %s/%s)\n", p.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
