package notify

import (
	"slices"

	"keywheel/xds/event"
)

// Rule changes who hears of an event.
type Rule struct {
	Kind  event.Kind
	Level event.Level // empty: of any level
	// Receivers are kinds, names of single receivers, or nothing at all.
	Receivers []string
}

// Router decides who hears of an event.
type Router struct {
	receivers []Receiver
	rules     []Rule
}

// NewRouter returns a router to receivers. Of several rules for an event the last one holds; where there is none, the
// defaults of Default do.
func NewRouter(receivers []Receiver, rules []Rule) *Router {
	return &Router{receivers: slices.Clone(receivers), rules: slices.Clone(rules)}
}

// Route returns whether the log is to say the event, and the names of the receivers that are to hear of it.
func (r *Router) Route(e *event.Event) (log bool, receivers []string) {
	to := r.to(e)
	for i := range r.receivers {
		one := &r.receivers[i]
		if slices.Contains(to, string(one.Kind)) || slices.Contains(to, one.Name) {
			receivers = append(receivers, one.Name)
		}
	}
	return slices.Contains(to, string(Log)), receivers
}

// to returns the kinds and names that an event goes to. What ends an alert goes where the alert went, unless a rule
// says otherwise.
func (r *Router) to(e *event.Event) []string {
	if to, ok := r.ruled(e.Kind, e.Level); ok {
		return to
	}
	kind, level := e.Kind, e.Level
	if ended, of, ok := e.Ends(); ok {
		if to, ok := r.ruled(ended, of); ok {
			return to
		}
		kind, level = ended, of
	}
	var to []string
	for _, k := range Default(kind, level) {
		to = append(to, string(k))
	}
	return to
}

func (r *Router) ruled(kind event.Kind, level event.Level) (to []string, ok bool) {
	for i := len(r.rules) - 1; i >= 0; i-- {
		if rule := &r.rules[i]; rule.Kind == kind && (rule.Level == "" || rule.Level == level) {
			return rule.Receivers, true
		}
	}
	return nil, false
}

// Default returns the kinds of receiver that hear of an event unless a rule says otherwise. What goes to Telegram goes
// to the webhook and the other services too, for those who have these instead. The page shows every event.
func Default(kind event.Kind, level event.Level) []Kind {
	switch kind {
	case event.Threshold, event.Quarantined, event.Panicked, event.Voided, event.Restored:
		switch level {
		case event.Critical:
			return []Kind{Log, Page, Telegram, Webhook, Services, Email}
		case event.Warning:
			return []Kind{Log, Page, Telegram, Webhook, Services}
		}
	case event.AllOut, event.KeyInvalid, event.KeyRestricted, event.PoolForecast:
		return []Kind{Log, Page, Telegram, Webhook, Services, Email}
	}
	return []Kind{Log, Page}
}
