package app

import (
	"io"
	"log/slog"

	"keywheel/xds/clock"
	"keywheel/xds/config"
	"keywheel/xds/tracing"
)

// Options is what the program is started with: everything that the command line and the settings say.
type Options struct {
	Config   *config.Config   // for the demo without the keys, upstream and store that it makes up; see Config.ForDemo
	Warnings []config.Warning // of the settings, not shown yet
	Settings config.Options   // what Config was read from, to read it again when files change
	Clock    *clock.Clock     // Keywheel's time; Log is stamped with it

	Demo              bool   // serve made-up keys from the simulated Groq, with a store that is gone afterwards
	ControlPlane      string // host:port by which Envoys reach the control plane; empty: as the settings say
	EnvoyConfigPath   string // Envoy's configuration to use in place of the embedded envoy.yaml; empty: the embedded one
	EnvoyConfigOutput string // the file that EnvoyConfig writes; empty: Stdout
	Version           string // Keywheel's own

	tracing *tracing.Tracing // nil: nobody asked for traces

	Stdout io.Writer // what the command is asked for
	Stderr io.Writer // Envoy's own output
	Log    *slog.Logger
}
