package app

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/notify"
)

// people are those who are told, who can change while the plane runs.
type people struct {
	outbox notify.Outbox
	route  atomic.Pointer[func(*event.Event) ledger.Route]

	mu      sync.Mutex
	current *notify.Dispatcher
	stop    context.CancelFunc // nil: nobody is told now
	stopped chan struct{}
}

// Route is who hears of an event, as the ledger asks.
func (p *people) Route(e *event.Event) ledger.Route { return (*p.route.Load())(e) }

// names are those of the receivers, as the metrics ask.
func (p *people) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	if p.current != nil {
		for _, r := range p.current.Receivers {
			names = append(names, r.Name)
		}
	}
	return names
}

// Try is the notifier's, as the admin API asks.
func (p *people) Try(ctx context.Context) []notify.Tried {
	p.mu.Lock()
	d := p.current
	p.mu.Unlock()
	return d.Try(ctx)
}

// reroute takes over who hears of what; it is all that the ledger needs to be opened.
func (p *people) reroute(c *config.Config, told []notify.Receiver) {
	routed := route(c, told)
	p.route.Store(&routed)
}

// set takes over who is told of what. Whoever was told before is told no more when it returns.
func (p *people) set(o Options, c *config.Config, told []notify.Receiver) {
	p.reroute(c, told)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = notify.NewDispatcher(notify.Options{Outbox: p.outbox, Receivers: told, Now: o.Clock.Now, Log: o.Log})
	if p.stop != nil {
		p.halt()
		p.launch()
	}
}

// run tells people until ctx ends.
func (p *people) run(ctx context.Context) {
	p.mu.Lock()
	p.launch()
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halt()
}

func (p *people) launch() {
	ctx, stop := context.WithCancel(context.Background())
	d, stopped := p.current, make(chan struct{})
	p.stop, p.stopped = stop, stopped
	go func() {
		defer close(stopped)
		d.Run(ctx)
	}()
}

func (p *people) halt() {
	p.stop()
	<-p.stopped
	p.stop = nil
}

// reload puts what changes in the settings' files in force, until ctx ends.
func (p *plane) reload(ctx context.Context, o Options) {
	config.Watch(ctx, config.Watching{
		Options: o.Settings, Running: o.Config, Log: o.Log,
		Changed: func(c *config.Config, warnings []config.Warning, err error) {
			by := audit.Entry{Who: audit.File, What: "settings", Outcome: audit.Done}
			if err == nil {
				err = p.reconfigure(ctx, o, c, by)
			}
			if err != nil {
				o.Log.Error("The settings were edited and are refused; the last good ones stay in force:\n  " + strings.ReplaceAll(err.Error(), "\n", "\n  "))
				by.Outcome, by.Detail = audit.Refused, "see the log"
				if err := p.ledger.Audit(ctx, by); err != nil {
					o.Log.Warn("The audit could not be written", "error", err)
				}
				return
			}
			for _, w := range warnings {
				o.Log.Warn(w.String())
			}
			o.Log.Info("The settings were edited and are in force")
			if names := config.Diff(o.Config, c); len(names) > 0 {
				o.Log.Warn("These settings take effect at the next start: " + strings.Join(names, ", "))
			}
		},
	})
}

// reconfigure puts settings in force as far as that goes while the plane runs: the keys last, as they can be refused.
func (p *plane) reconfigure(ctx context.Context, o Options, c *config.Config, by audit.Entry) error {
	fresh := o
	fresh.Config = c
	told, err := receivers(fresh)
	if err != nil {
		return err
	}
	if _, err := p.roster.Configure(ctx, c.Keys, by); err != nil {
		return err
	}
	if err := p.ledger.SetPolicy(ctx, policy(o, c)); err != nil {
		return err
	}
	p.publisher.SetInterval(c.PushInterval)
	p.people.set(o, c, told)
	p.renew(o, c)
	return nil
}
