// Package app puts the program together and says in which order its parts start and stop.
//
// The rules are:
//   - The control plane outlives Envoy: the last usage reports are taken in before the store is closed.
//   - What cannot be started is said before anything serves.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"keywheel"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
)

// Run runs the control plane and an Envoy of its own until ctx ends. It returns nil after a clean stop.
func Run(ctx context.Context, o Options) (err error) {
	if o.Demo {
		demo, err := startDemo(o.Config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, demo.close()) }()
		o.Config = demo.config
	}
	xds, err := o.Config.RunXDSAddr()
	if err != nil {
		return err
	}
	if err := canConnect(o.Config, xds); err != nil {
		return err
	}
	wasm, err := modulePath(o.Config)
	if err != nil {
		return err
	}
	supervised, err := prepareEnvoy(ctx, o, xds, wasm)
	if err != nil {
		return err
	}
	p, err := startPlane(ctx, o, xds, wasm)
	if err != nil {
		return err
	}
	supervisor := envoy.NewSupervisor(supervised)
	hurry(ctx, supervisor)
	sayWhenReady(ctx, o, p, supervisor)
	// The control plane ends last, with a context of its own, so that Envoy's last reports are taken in. Should it fail
	// by itself, Envoy is stopped too.
	envoyCtx, stopEnvoy := context.WithCancel(ctx)
	defer stopEnvoy()
	go func() {
		<-p.failed
		stopEnvoy()
	}()
	err = supervisor.Run(envoyCtx)
	return errors.Join(err, p.stop())
}

// Serve runs the control plane alone until ctx ends. It returns nil after a clean stop.
func Serve(ctx context.Context, o Options) error {
	xds := o.Config.ServeXDSAddr()
	wasm, err := modulePath(o.Config)
	if err != nil {
		return err
	}
	p, err := startPlane(ctx, o, xds, wasm)
	if err != nil {
		return err
	}
	p.banner(o, fmt.Sprintf("control plane for Envoys at %s%s; the filter's module is %s", xds, p.guarded(), wasm))
	select {
	case <-ctx.Done():
	case <-p.failed:
	}
	return p.stop()
}

// EnvoyConfig writes envoy.yaml, adapted to the settings, to EnvoyConfigOutput or else Stdout: what to start an Envoy with
// beside `keywheel serve`.
func EnvoyConfig(_ context.Context, o Options) error {
	wasm, err := modulePath(o.Config)
	if err != nil {
		return err
	}
	adapted, err := bootstrap(o, o.Config.ServeXDSAddr(), wasm)
	if err != nil {
		return err
	}
	if t := o.Config.TLS; t != nil && !t.Identity.CanConnect() {
		o.Log.Warn("Envoy cannot show the certificate at " + t.CertFile + ", as it is for servers only: where Envoy runs, put one for clients (clientAuth) there")
	}
	adapted = append(adapted, '\n')
	if o.EnvoyConfigOutput == "" {
		_, err = o.Stdout.Write(adapted)
		return err
	}
	if err := envoy.WriteFile(o.EnvoyConfigOutput, adapted, 0o644); err != nil { // another user's Envoy may read it; it holds no secret
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// modulePath is where Envoy finds the filter's module: the file KEYWHEEL_WASM, else the one in the binary, written out into
// the directory KEYWHEEL_WASM or, without one, beside the store.
func modulePath(c *config.Config) (string, error) {
	dir := filepath.Join(c.StoreDir(), "wasm")
	if c.WasmPath != "" {
		info, err := os.Stat(c.WasmPath)
		if err != nil {
			return "", fmt.Errorf("KEYWHEEL_WASM: there is no %s; set it to the filter's module, to a directory for the one in the binary, or leave it out",
				c.WasmPath)
		}
		if !info.IsDir() {
			return c.WasmPath, nil
		}
		dir = c.WasmPath
	}
	if len(keywheel.Wasm) == 0 {
		return "", errors.New("KEYWHEEL_WASM: this binary was built without the filter's module; set it to the module's path, or build with make build")
	}
	return envoy.WriteWasm(dir, keywheel.Wasm)
}

// bootstrap is the configuration that Envoy is started with.
func bootstrap(o Options, xds config.Address, wasm string) ([]byte, error) {
	text := keywheel.EnvoyYAML
	if o.EnvoyConfigPath != "" {
		var err error
		if text, err = os.ReadFile(o.EnvoyConfigPath); err != nil {
			return nil, fmt.Errorf("reading Envoy's configuration: %w", err)
		}
	}
	ca := ""
	if o.Config.Upstream.TLS {
		var err error
		if ca, err = envoy.FindCABundle(os.Getenv, nil); err != nil {
			return nil, err
		}
	}
	address, secured, err := controlPlane(o, xds)
	if err != nil {
		return nil, err
	}
	node, err := os.Hostname()
	if err != nil {
		node = "keywheel"
	}
	return envoy.Configure(text, envoy.Settings{
		NodeID: node, ListenAddr: o.Config.ListenAddr.Listen(), AdminAddr: o.Config.EnvoyAdminAddr.Listen(),
		ControlPlane: address, TLS: secured, WasmPath: wasm, CABundle: ca, Upstream: o.Config.Upstream,
	})
}

// prepareEnvoy finds Envoy and makes its configuration; it starts nothing.
func prepareEnvoy(ctx context.Context, o Options, xds config.Address, wasm string) (envoy.Config, error) {
	adapted, err := bootstrap(o, xds, wasm)
	if err != nil {
		return envoy.Config{}, err
	}
	binary, version, err := envoy.Find(ctx, envoy.Options{Progress: o.Stderr})
	if err != nil {
		return envoy.Config{}, err
	}
	o.Log.Info(fmt.Sprintf("Envoy %s: %s", version, binary))
	return envoy.Config{
		Binary: binary, Bootstrap: adapted, ConfigPath: filepath.Join(o.Config.StoreDir(), "envoy.json"),
		AdminAddr: o.Config.EnvoyAdminAddr.Dial(), Concurrency: o.Config.EnvoyConcurrency, Logger: o.Log,
		Ports: []envoy.Port{
			{Setting: "KEYWHEEL_LISTEN_ADDR", Addr: o.Config.ListenAddr.Listen()},
			{Setting: "KEYWHEEL_ENVOY_ADMIN_ADDR", Addr: o.Config.EnvoyAdminAddr.Listen()},
		},
	}, nil
}

// hurry shortens the stop with each further signal: first the wait for running calls ends, then Envoy is killed.
func hurry(ctx context.Context, s *envoy.Supervisor) {
	context.AfterFunc(ctx, func() {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		go func() {
			for range signals {
				s.Hurry()
			}
		}()
	})
}

// sayWhenReady shows the banner once Envoy serves and has its first allowances, so that the first call is not too soon.
func sayWhenReady(ctx context.Context, o Options, p *plane, s *envoy.Supervisor) {
	go func() {
		select {
		case <-s.Ready():
		case <-ctx.Done():
			return
		}
		p.waitForEnvoy(ctx)
		p.banner(o, fmt.Sprintf("http://%s/v1 for OpenAI clients, http://%[1]s for Groq clients", o.Config.ListenAddr.Dial()))
	}()
}

// listenAdmin listens for the admin API and names the setting that moves it.
func listenAdmin(a config.Address) (net.Listener, error) {
	l, err := net.Listen(a.Network(), a.Listen())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("KEYWHEEL_ADMIN_ADDR: %s is in use; end what listens there, or set KEYWHEEL_ADMIN_ADDR to another address", a)
	}
	if err != nil {
		return nil, fmt.Errorf("KEYWHEEL_ADMIN_ADDR: %w", err)
	}
	return l, nil
}
