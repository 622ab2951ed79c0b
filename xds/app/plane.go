package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/collector"
	"keywheel/xds/config"
	"keywheel/xds/dashboard"
	"keywheel/xds/handout"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/metrics"
	"keywheel/xds/mtls"
	"keywheel/xds/probe"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
	"keywheel/xds/server"
	"keywheel/xds/snapshot"
	"keywheel/xds/tracing"
)

// stopTime is how long what is being answered may take at the end.
const stopTime = 10 * time.Second

// groqHost is whose requests need no mark against loops: it is no Keywheel.
const groqHost = "api.groq.com"

// plane is a running control plane.
type plane struct {
	store  *bolt.Store
	ledger *ledger.Ledger
	roster *roster.Roster
	people *people
	peers  *mtls.Keeper // nil: xDS is served in the clear
	xds    *server.Server
	admin  *http.Server

	publisher *snapshot.Publisher
	token     secret.Key
	failed    chan struct{} // closed when a part ended by itself
	tracing   *tracing.Tracing
	closing   chan struct{} // closed when the plane is stopped

	cancel context.CancelFunc // ends the parts that run beside
	group  sync.WaitGroup
	once   sync.Once
	mu     sync.Mutex
	err    error
}

// startPlane opens the store and listens. ctx does not end the plane: stop does.
func startPlane(ctx context.Context, o Options, addr config.Address, wasm string) (p *plane, err error) {
	if o.Clock.Virtual() && !o.Config.Upstream.Loopback() {
		return nil, errors.New("--now: a virtual clock is for tests, against an upstream on this machine; set KEYWHEEL_UPSTREAM_URL to one on loopback")
	}
	for _, w := range o.Warnings {
		o.Log.Warn(w.String())
	}
	if o.tracing, err = tracing.Start(ctx, tracing.Options{Version: o.Version, Log: o.Log}); err != nil {
		return nil, err
	}
	told, err := receivers(o)
	if err != nil {
		return nil, err
	}
	file, err := bolt.Open(o.Config.StorePath, bolt.Options{Log: o.Log})
	if err != nil {
		return nil, err
	}
	p = &plane{store: file, tracing: o.tracing, failed: make(chan struct{}), closing: make(chan struct{}), people: &people{}}
	p.people.reroute(o.Config, told)
	l, err := ledger.Open(ctx, ledger.Options{
		Store: file, Policy: policy(o, o.Config), Now: o.Clock.Now, Clock: o.Clock.Spec, Log: o.Log, HistoryDays: o.Config.HistoryDays,
		Route: p.people.Route,
	})
	if err != nil {
		return nil, err
	}
	p.ledger, p.people.outbox = l, l
	p.people.set(o, o.Config, told)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if p.roster, err = openRoster(ctx, o, l); err != nil {
		return nil, err
	}
	p.peers = peers(o, addr)
	return p, p.listen(ctx, o, addr, wasm)
}

// openRoster puts the keys in force.
func openRoster(ctx context.Context, o Options, l *ledger.Ledger) (*roster.Roster, error) {
	options := roster.Options{Account: l, Configured: o.Config.Keys, Log: o.Log}
	if len(o.Config.MasterKeys) > 0 {
		sealer, err := seal.New(o.Config.MasterKeys)
		if err != nil {
			return nil, err
		}
		options.Sealer = sealer
	}
	return roster.Open(ctx, options)
}

// policy is what filters go by under settings c. What needs a restart is as at the start.
func policy(o Options, c *config.Config) protocol.Policy {
	return protocol.Policy{
		Strategy: string(c.Strategy), RequiredTokens: c.RequiredTokens,
		ReportIntervalMS: c.ReportInterval.Milliseconds(),
		LoopGuard:        o.Config.Upstream.Host != groqHost, Demo: o.Demo,
		CallerHeader: c.CallerHeader, UseKey: c.UseKeyHeader,
	}
}

func (p *plane) listen(ctx context.Context, o Options, addr config.Address, wasm string) error {
	publisher := snapshot.NewPublisher(snapshot.Config{
		Source: p.ledger, Secrets: p.roster.Secrets, Token: func() secret.Key { return secret.New(p.ledger.ReportToken()) },
		WasmPath: wasm, Interval: o.Config.PushInterval, Logger: o.Log,
	})
	p.publisher = publisher
	if _, err := publisher.Refresh(ctx); err != nil {
		return err
	}
	reports := collector.New(p.ledger, peer, o.Log)
	p.xds = server.New(p.secured(server.Config{
		Cache: publisher.Cache(), Redact: publisher.Redact, Observer: p.ledger, Logger: o.Log,
		Refresh: func(ctx context.Context) error { _, err := publisher.Refresh(ctx); return err },
		Reports: o.tracing.Handler(reports, "usage report"), Handout: p.handout(o),
	}))
	shown, err := metrics.New(metrics.Options{
		Ledger: p.ledger, Reports: reports.Stats, Receivers: p.people.names, Version: o.Version, Log: o.Log,
		CertificateExpires: p.certificateExpires,
	})
	if err != nil {
		return err
	}
	token, err := adminToken(o.Config)
	if err != nil {
		return err
	}
	p.token = token
	xdsListener, err := server.Listen(addr.String(), p.peers != nil || o.Config.XDSInsecure)
	if err != nil {
		return err
	}
	adminListener, err := listenAdmin(o.Config.AdminAddr)
	if err != nil {
		return errors.Join(err, xdsListener.Close())
	}
	adminListener = admin.Bounded(adminListener)
	p.admin = admin.NewServer(p.api(o, shown), o.Log)

	run, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.beside(func() error { return p.xds.Serve(xdsListener) })
	p.beside(func() error {
		if err := p.admin.Serve(adminListener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	p.beside(func() error { return publisher.Run(run) })
	p.beside(func() error { p.tick(run, o); return nil })
	p.beside(func() error { p.remind(run, o); return nil })
	p.beside(func() error { p.people.run(run); return nil })
	if !o.Demo {
		p.beside(func() error { p.reload(run, o); return nil })
	}
	p.beside(func() error {
		probe.New(probe.Options{
			Account: p.ledger, Secret: p.roster.Secret, Client: probe.NewClient(o.Config.Upstream, nil), Now: o.Clock.Now, Log: o.Log,
		}).Run(run)
		return nil
	})
	return nil
}

// handout gives the assignment to filters that another control plane configures.
func (p *plane) handout(o Options) http.Handler {
	return o.tracing.Handler(handout.New(handout.Options{
		Token: o.Config.ProxyToken, Current: p.publisher.GateOnly, Now: time.Now, Log: o.Log,
		Refresh: func(ctx context.Context) error { _, err := p.publisher.Refresh(ctx); return err },
	}), "assignment")
}

// peer tells the ledger over which connection a report came.
func peer(r *http.Request) ledger.Peer {
	c, _ := server.ConnFrom(r.Context())
	return ledger.Peer{ConnID: c.ID, Local: c.Local}
}

func adminToken(c *config.Config) (secret.Key, error) {
	if !c.AdminToken.IsZero() {
		return c.AdminToken, nil
	}
	return admin.LoadOrCreateToken(filepath.Join(c.StoreDir(), admin.TokenFile))
}

func (p *plane) api(o Options, shown http.Handler) http.Handler {
	options := admin.Options{
		Ledger: p.ledger, Roster: p.roster, Notifier: p.people, Vault: p.vault(), Audit: p.ledger.Audit, Page: dashboard.Handler(),
		Addr: o.Config.AdminAddr.Listen(), Token: p.token, ReadToken: o.Config.AdminReadToken,
		Closing: p.closing, Version: o.Version, Log: o.Log,
		Metrics: shown, Wrap: func(next http.Handler) http.Handler { return p.tracing.Handler(next, "admin API") },
		Missing: func() []string {
			if p.ledger.StoreError() != nil {
				return []string{"store"}
			}
			return nil
		},
	}
	if o.Clock.Virtual() {
		options.SetClock = func(ctx context.Context, now time.Time, speed float64) error {
			o.Clock.Set(now, speed)
			return p.ledger.Tick(ctx)
		}
	}
	return admin.New(options)
}

// vault makes and restores backups while the plane runs.
func (p *plane) vault() *backup.Live {
	return backup.NewLive(backup.Live{
		Store: p.store, Audit: p.ledger.Audit, Now: time.Now,
		Restore: func(ctx context.Context, records []store.Record, by audit.Entry) (int64, error) {
			return p.roster.Restore(ctx, p.ledger, records, by)
		},
	})
}

// beside runs a part until it ends; an error of one ends the plane.
func (p *plane) beside(f func() error) {
	p.group.Go(func() {
		if err := f(); err != nil {
			p.mu.Lock()
			p.err = errors.Join(p.err, err)
			p.mu.Unlock()
			p.once.Do(func() { close(p.failed) })
		}
	})
}

// tickEvery is how often the ledger looks at the clock, in the host's time.
const tickEvery = 250 * time.Millisecond

func (p *plane) tick(ctx context.Context, o Options) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := p.ledger.Tick(ctx); err != nil && ctx.Err() == nil {
				o.Log.Error("The account could not be kept up", "error", err)
			}
		}
	}
}

// waitForEnvoy waits until an Envoy says that it follows an answer, and so has its allowances. It waits a few seconds at
// most: an Envoy that cannot reach the control plane says why in its own log.
func (p *plane) waitForEnvoy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if slices.ContainsFunc(p.ledger.View().Proxies, func(v ledger.ProxyView) bool { return v.Connected && v.Generation > 0 }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stop ends the plane: no new reports, those that came are taken in, then the store is closed.
func (p *plane) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	close(p.closing)
	err := errors.Join(p.xds.Shutdown(ctx), p.admin.Shutdown(ctx))
	p.cancel()
	p.group.Wait()
	p.once.Do(func() { close(p.failed) })
	p.tracing.Stop(context.Background())
	return errors.Join(err, p.err, p.ledger.Close())
}

// banner says where everything is. The dashboard's link holds the admin token and goes to a terminal only, never to a
// log that is kept.
func (p *plane) banner(o Options, envoy string) {
	link := "http://" + o.Config.AdminAddr.Dial() + "/"
	if f, ok := o.Stdout.(*os.File); ok && terminal(f) {
		link += "#token=" + url.PathEscape(p.token.Reveal())
	} else if o.Config.AdminToken.IsZero() {
		link += " (token in " + filepath.Join(o.Config.StoreDir(), admin.TokenFile) + ")"
	}
	_, _ = fmt.Fprintf(o.Stdout, "Keywheel %s\n  Envoy      %s\n  Admin      %s\n  Store      %s\n  Keys       %s\n",
		o.Version, envoy, link, o.Config.StorePath, keysLine(o.Config))
	if o.Demo {
		_, _ = fmt.Fprintln(o.Stdout, "  Demo       answers come from a simulated Groq and the store is gone afterwards; set GROQ_API_KEY_1 for the real one")
	}
}

func keysLine(c *config.Config) string {
	n := len(c.Keys)
	s := fmt.Sprintf("%d; daily limits are in tokens, and reset at 00:00 UTC", n)
	for _, k := range c.Keys {
		if k.LimitTokens > 0 || k.LimitRequests > 0 {
			return s
		}
	}
	return s + " (none is set: GROQ_KEY_n_DAILY_LIMIT)"
}
