// Command keywheel keeps Groq traffic flowing through an Envoy, over all the API keys it is given.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"keywheel"
	"keywheel/xds/app"
	"keywheel/xds/cli"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	program := cli.Program{
		Version: version, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
		Run: app.Run, Serve: app.Serve, EnvoyConfig: app.EnvoyConfig, Wasm: keywheel.Wasm,
	}
	os.Exit(program.Execute(ctx, os.Args[1:]))
}
