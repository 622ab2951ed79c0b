package probe

import (
	"context"
	"log/slog"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/ledger"
)

// delays are the times from a key's refusal to the first try, and from each try to the next: 1, 5 and 30 minutes after
// the refusal, then hourly. The last one stays.
var delays = [...]time.Duration{time.Minute, 4 * time.Minute, 25 * time.Minute, time.Hour}

// relapse is how soon after its return a key that is refused again goes on in its schedule instead of beginning anew:
// the models can be listed with a key that may not be spent.
const relapse = time.Hour

// pollInterval is how often the account is looked at, in the host's time.
const pollInterval = time.Second

// Account knows which keys are out and takes them back.
type Account interface {
	// View returns the account; a key is out while its InvalidSince is not zero.
	View() ledger.View
	// Clear forgets what was learned of the key's organization.
	Clear(ctx context.Context, keyID string, by audit.Entry) (generation int64, err error)
}

// Options is what a Prober is made of.
type Options struct {
	Account Account
	Secret  func(keyID string) secret.Key // zero for a key that is not there
	Client  *Client
	Now     func() time.Time // the account's time
	Log     *slog.Logger
	Ticks   <-chan time.Time // when to look; nil: every second of the host's time
}

// Prober tries refused keys again. It belongs to one goroutine.
type Prober struct {
	Options
	watched map[string]*watch // by key ID
}

// watch is where a key stands in its schedule.
type watch struct {
	since    time.Time // of the refusal
	tries    int
	next     time.Time
	returned time.Time // when it was last taken back; zero: never
}

// New returns a Prober.
func New(opts Options) *Prober {
	return &Prober{Options: opts, watched: make(map[string]*watch)}
}

// Run looks after refused keys until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	ticks := p.Ticks
	if ticks == nil {
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			p.Step(ctx)
		}
	}
}

// Step tries every key whose time has come, once.
func (p *Prober) Step(ctx context.Context) {
	now := p.Now()
	for _, key := range p.Account.View().Keys {
		if key.InvalidSince.IsZero() {
			if w := p.watched[key.ID]; w != nil && now.Sub(w.returned) >= relapse {
				delete(p.watched, key.ID)
			}
			continue
		}
		w := p.watch(key.ID, key.InvalidSince)
		if now.Before(w.next) || ctx.Err() != nil {
			continue
		}
		w.tries++
		w.next = now.Add(delay(w.tries))
		p.try(ctx, key.ID, w)
	}
}

// watch returns where a refused key stands. A refusal that is not known yet begins the schedule: after a restart at
// once, if its first minute has passed.
func (p *Prober) watch(keyID string, since time.Time) *watch {
	w := p.watched[keyID]
	if w != nil && w.since.Equal(since) {
		return w
	}
	tries := 0
	if w != nil && !w.returned.IsZero() && since.Sub(w.returned) < relapse {
		tries = w.tries
	}
	w = &watch{since: since, tries: tries, next: since.Add(delay(tries))}
	p.watched[keyID] = w
	return w
}

func delay(tries int) time.Duration { return delays[min(tries, len(delays)-1)] }

func (p *Prober) try(ctx context.Context, keyID string, w *watch) {
	key := p.Secret(keyID)
	if key.IsZero() {
		return // removed meanwhile
	}
	result := p.Client.Try(ctx, keyID, key)
	log := p.Log.With("key", keyID)
	switch {
	case ctx.Err() != nil:
	case result.Verdict == Unreachable:
		log.Warn("Groq Key "+keyID+" could not be tried again", "reason", result.Reason, "next", w.next)
	case result.Verdict == Refused:
		log.Info("Groq Key "+keyID+" is still refused by Groq", "status", result.Status, "code", result.Code, "next", w.next)
	default:
		if _, err := p.Account.Clear(ctx, keyID, audit.Entry{Who: audit.Probe, Detail: "Groq accepts it again"}); err != nil {
			log.Error("Groq Key "+keyID+" is accepted again, but could not be taken back", "error", err, "next", w.next)
			return
		}
		w.returned = p.Now()
		log.Info("Groq Key " + keyID + " is accepted by Groq again")
	}
}
