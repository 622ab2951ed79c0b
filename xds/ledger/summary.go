package ledger

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/summary"
)

// Summary returns what a window came to so far; ok is false where nothing is known of it.
func (l *Ledger) Summary(w quota.Window) (s summary.Summary, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.days[w]; d != nil && d.Sum != nil {
		return *d.Sum, true
	}
	if _, known := l.sumOf(w); !known && l.days[w] == nil && w != quota.WindowAt(l.now()) {
		return summary.Summary{}, false
	}
	return l.summarize(w), true
}

// summarize sums a window up from its sources and events.
func (l *Ledger) summarize(w quota.Window) summary.Summary {
	sum, _ := l.sumOf(w)
	g := &sum.Gate
	s := summary.Summary{
		Window: w.String(), Requests: g.Requests, Succeeded: g.Succeeded, CallerFaults: g.CallerFaults, Refused: g.Refused,
		Failed: g.Failed, Cut: g.Cut, TimeMS: g.TimeMS, Rescues: g.Rescues,
	}
	if d := l.days[w]; d != nil {
		s.Rotations, s.Down = d.Rotations, d.downtime()
		for _, m := range d.Rescued {
			s.RescueLog = append(s.RescueLog, summary.Moment{At: time.UnixMilli(m.AtMS).UTC(), N: m.N})
		}
		for _, sp := range d.Down[max(0, len(d.Down)-maxMoments):] {
			s.DownLog = append(s.DownLog, summary.Span{From: time.UnixMilli(sp[0]).UTC(), To: time.UnixMilli(sp[1]).UTC()})
		}
	}
	l.sumKeys(&s, sum.Credentials)
	s.Absorbed = max(0, s.Limited-g.Limited)
	l.sumEvents(&s, w)
	return s
}

// sumKeys sums over the credentials of each key. Keys that are not configured any more come last.
func (l *Ledger) sumKeys(s *summary.Summary, credentials []protocol.CredentialUsage) {
	byKey := map[string]*summary.Key{}
	for _, k := range l.keys {
		byKey[k.ID] = &summary.Key{ID: k.ID, Label: k.Label, Limit: k.LimitTokens}
	}
	for i := range credentials {
		u := &credentials[i]
		id, _, _ := protocol.SplitCredential(u.Credential)
		k := byKey[id]
		if k == nil {
			k = &summary.Key{ID: id, Label: "removed"}
			byKey[id] = k
		}
		k.Requests += u.Requests
		s.Limited += u.Attempts[string(groq.ClassLimited)]
		for _, m := range u.Models {
			k.Tokens += m.Total
			s.Tokens += m.Total
			s.Estimated += m.Estimated
			k.Models = addModel(k.Models, m)
			s.Models = addModel(s.Models, m)
		}
	}
	for _, k := range l.keys {
		s.Keys = append(s.Keys, *byKey[k.ID])
		delete(byKey, k.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(byKey)) {
		s.Keys = append(s.Keys, *byKey[id])
	}
	for i := range s.Keys {
		sortModels(s.Keys[i].Models)
	}
	sortModels(s.Models)
}

// unnamedModel is what use is shown under of which no answer named the model: streams that were cut.
const unnamedModel = "unknown model"

func addModel(models []summary.Model, m protocol.ModelUsage) []summary.Model {
	name := cmp.Or(m.Model, unnamedModel)
	i := slices.IndexFunc(models, func(o summary.Model) bool { return o.Name == name })
	if i < 0 {
		i = len(models)
		models = append(models, summary.Model{Name: name})
	}
	o := &models[i]
	o.Prompt += m.Prompt
	o.Completion += m.Completion
	o.Cached += m.Cached
	o.Total += m.Total
	return models
}

func sortModels(models []summary.Model) {
	slices.SortFunc(models, func(a, b summary.Model) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Name, b.Name))
	})
}

// alertWords are how a summary names alerts.
var alertWords = map[event.Kind]string{
	event.KeyInvalid: "Key invalid", event.KeyRestricted: "Key restricted", event.AllOut: "All keys out",
	event.Rejected: "Assignment refused", event.OldEnvoy: "Old Envoy", event.Quarantined: "Impossible usage", event.ClockSkew: "Clock skew",
	event.Panicked: "Filter bug", event.Voided: "Envoy voided", event.Restored: "Account restored",
}

func alertWord(e *event.Event) string {
	if word, ok := alertWords[e.Kind]; ok {
		return word
	}
	return strings.ToUpper(string(e.Level[:1])) + string(e.Level[1:])
}

// sumEvents takes alerts, rotations and forecasts from a window's events.
func (l *Ledger) sumEvents(s *summary.Summary, w quota.Window) {
	name := w.String()
	alerts := map[string]int64{}
	var order []string
	var off time.Duration
	for _, h := range l.events {
		e := &h.Event
		if e.Window != name {
			continue
		}
		if e.Alert() && !e.Late {
			word := alertWord(e)
			if alerts[word] == 0 {
				order = append(order, word)
			}
			alerts[word]++
		}
		switch e.Kind {
		case event.Rotated:
			s.RotationLog = append(s.RotationLog, summary.Rotation{At: e.At, From: e.From, To: e.To, Reason: e.Reason})
		case event.Forecast, event.PoolForecast:
			switch ranOut := l.ranOut(w, e); {
			case !ranOut.IsZero():
				s.Forecasts.Hits++
				off += ranOut.Sub(e.Until).Abs()
			case w < quota.WindowAt(l.now()): // else it may still come true
				s.Forecasts.Misses++
			}
		}
	}
	for _, word := range order {
		s.Alerts = append(s.Alerts, summary.Count{What: word, N: alerts[word]})
	}
	s.RotationLog = s.RotationLog[max(0, len(s.RotationLog)-maxMoments):]
	if s.Forecasts.Hits > 0 {
		s.Forecasts.MeanOff = off / time.Duration(s.Forecasts.Hits)
	}
}

// ranOut is when what a forecast was about came true in its window. Zero: it did not.
func (l *Ledger) ranOut(w quota.Window, e *event.Event) time.Time {
	if e.Kind == event.PoolForecast {
		return l.poolRanOut(w)
	}
	if k := l.byID[e.Key]; k != nil {
		return l.exhausted(k, w)
	}
	return time.Time{}
}

// poolRanOut is when the last of the keys that are not disabled was exhausted; zero: never.
func (l *Ledger) poolRanOut(w quota.Window) time.Time {
	var last time.Time
	for _, k := range l.keys {
		if k.Disabled {
			continue
		}
		at := l.exhausted(k, w)
		if at.IsZero() {
			return at
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// exhausted is when a key's limit left no room for a request any more, to the end of the bucket; zero: never, or it has
// no limit.
func (l *Ledger) exhausted(k *key, w quota.Window) time.Time {
	s := l.series[crossedID{w, k.ID}]
	if s == nil || k.LimitTokens == 0 {
		return time.Time{}
	}
	var used int64
	for i, n := range s.Tokens {
		if used += n; k.LimitTokens-used < max(1, l.policy.RequiredTokens) {
			return w.Start().Add(time.Duration(i+1) * bucket)
		}
	}
	return time.Time{}
}

// tellSummaries tells what each day came to that is over, once all living Envoys have reported since it ended.
func (t *tx) tellSummaries() {
	l := t.l
	today := t.window
	if t.mono.Sub(l.windowAt) < l.lease() {
		return // who lives is not known yet
	}
	for inc := range l.living {
		if !inc.seen.After(l.windowAt) {
			return
		}
	}
	from, err := quota.ParseWindow(l.meta.Summarized)
	if err != nil || from >= today-1 {
		return
	}
	change(t, l.meta).Summarized = (today - 1).String()
	for w := max(from+1, today-quota.Window(l.historyDays)); w < today; w++ {
		if _, known := l.sumOf(w); !known && l.days[w] == nil && w != today-1 {
			continue
		}
		s := l.summarize(w)
		t.tell(event.Event{Kind: event.Summary, Level: event.Info, Window: w.String(), Text: s.Text(), Detail: s.Title()},
			line{slog.LevelInfo, s.Line(), nil})
	}
}
