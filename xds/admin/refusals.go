package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/xds/audit"
	"keywheel/xds/guess"
)

const (
	maxRefusals  = 10 // audit entries in a minute, of each budget
	auditTimeout = 5 * time.Second
)

// refusals writes to the audit what was refused, as well as it can: the refusal stands whether it is written or not. It
// writes so many in a minute, and then how many more there were: each costs a write to the disk.
type refusals struct {
	sink func(context.Context, audit.Entry) error // nil: nobody keeps an audit
	now  func() time.Time
	log  *slog.Logger

	mu       sync.Mutex
	known    budget // for those with a valid token: others must not hide what they do
	nobody   budget // for those without
	guessing budget // for addresses that wrong tokens come from
}

// budget is what may still be written in a minute.
type budget struct {
	since            time.Time
	written, skipped int
	last             Caller // of those skipped
}

// record writes that c was refused, if the budget has room for it. The entry is made only then.
func (f *refusals) record(ctx context.Context, b *budget, c *Caller, entry func() audit.Entry) {
	if f.sink == nil {
		return
	}
	f.mu.Lock()
	now := f.now()
	over, room := f.over(now), b.take(now, c)
	f.mu.Unlock()
	f.write(ctx, over...)
	if room {
		e := entry()
		e.Who, e.From = c.Who, c.From
		f.write(ctx, e)
	}
}

// settle writes how many were not written, once their minute is over. Every request but the public ones calls it.
func (f *refusals) settle(ctx context.Context) {
	if f.sink == nil {
		return
	}
	f.mu.Lock()
	over := f.over(f.now())
	f.mu.Unlock()
	if over != nil {
		f.write(ctx, over...)
	}
}

// over returns what is to be written of the minutes that are over now, and forgets them. It is called with mu held.
func (f *refusals) over(now time.Time) []audit.Entry {
	var entries []audit.Entry
	for _, b := range []*budget{&f.known, &f.nobody, &f.guessing} {
		if b.skipped == 0 || guess.Within(b.since, now) {
			continue
		}
		entries = append(entries, audit.Entry{
			Who: b.last.Who, From: b.last.From, What: "more requests",
			Detail: fmt.Sprintf("%d more were refused within a minute; the last of them came from here.", b.skipped),
		})
		*b = budget{}
	}
	return entries
}

// take says whether there is room for what c was refused, and uses it up.
func (b *budget) take(now time.Time, c *Caller) bool {
	if !guess.Within(b.since, now) {
		*b = budget{since: now}
	}
	if b.written == maxRefusals {
		b.skipped++
		b.last = *c
		return false
	}
	b.written++
	return true
}

func (f *refusals) write(ctx context.Context, entries ...audit.Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout) // who hangs up is written down all the same
	defer cancel()
	for _, e := range entries {
		e.Outcome = audit.Refused
		if err := f.sink(ctx, e); err != nil {
			f.log.Error("A refused request could not be written to the audit", "what", e.What, "from", e.From, "error", err)
		}
	}
}

// operations returns what tells which operation of mux a request asks for, as the audit names it: "clear key" for
// clear-key; "" for none.
func (a *api) operations(mux *http.ServeMux) func(*http.Request) string {
	names := make(map[string]string)
	for path, item := range a.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				names[op.Method+" "+path] = strings.ReplaceAll(op.OperationID, "-", " ")
			}
		}
	}
	return func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		return names[pattern]
	}
}

// subject returns the ID of the key that a request is about, if there is such a key: anything else may be a secret in
// the wrong place.
func (a *api) subject(r *http.Request) string {
	rest, _ := strings.CutPrefix(r.URL.Path, "/api/v1/keys/")
	id, _, _ := strings.Cut(rest, "/")
	if indexOf(a.Ledger.View(), id) < 0 {
		return ""
	}
	return id
}
