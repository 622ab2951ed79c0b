package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"keywheel/xds/event"
)

// Route says who hears of an event.
type Route struct {
	Event     string   // its kind
	Level     string   // its level; empty: any
	Receivers []string // kinds of receiver (log, page, telegram, email, webhook, services) and names of services; none: nobody
}

// receivers are the kinds of receiver and the setting without which there is none of it.
var receivers = []struct{ kind, needs string }{
	{"log", ""}, {"page", ""}, {"telegram", "TELEGRAM_BOT_TOKEN"}, {"email", "SMTP_URL"}, {"webhook", "KEYWHEEL_WEBHOOK_URL"},
	{"services", "KEYWHEEL_NOTIFY_URLS"},
}

const routesSetting = "KEYWHEEL_NOTIFY_ROUTES"

// nobody stands in a route for no receiver.
const nobody = "none"

// receiverWords are the words of routes that no service can be called by.
func receiverWords() []string {
	var words []string
	for _, r := range receivers {
		words = append(words, r.kind)
	}
	return append(words, nobody)
}

// routedEvents are the kinds of event that routes are for. A test goes where it is sent.
func routedEvents() []string {
	var kinds []string
	for _, k := range event.Kinds() {
		if k != event.Test {
			kinds = append(kinds, string(k))
		}
	}
	return kinds
}

func levelWords() []string {
	var levels []string
	for _, level := range event.Levels() {
		levels = append(levels, string(level))
	}
	return levels
}

// aroundSigns are blanks that separate no entries, as in "summary = email, log".
var aroundSigns = regexp.MustCompile(`\s*([=,])\s*`)

// routes reads entries such as threshold.warning=log,telegram.
func (l *loader) routes(services []Service) []Route {
	e, set := l.lookup(routesSetting)
	if !set {
		return nil
	}
	words := receiverWords()
	for _, s := range services {
		words = append(words, s.Name)
	}
	var routes []Route
	for _, part := range routeEntries(e) {
		if r, ok := l.route(part, words); ok {
			routes = append(routes, r)
		}
	}
	l.warnRoutes(routes)
	return routes
}

// routeEntries are the entries of one text, which blanks or semicolons separate, or of a list.
func routeEntries(e entry) []entry {
	if e.items != nil {
		return e.items
	}
	var entries []entry
	text := aroundSigns.ReplaceAllString(e.value, "$1")
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || unicode.IsSpace(r) }) {
		entries = append(entries, entry{value: part, where: e.where})
	}
	return entries
}

// route reads one entry, EVENT.LEVEL=RECEIVER,RECEIVER. words are all receivers.
func (l *loader) route(e entry, words []string) (r Route, ok bool) {
	const name, example = routesSetting, "threshold.warning=log,telegram"
	text := strings.ToLower(e.value)
	what, who, ok := strings.Cut(text, "=")
	if !ok {
		l.problem(name, e, l.show(text)+" has no =", "write an event and who hears of it, such as "+example)
		return r, false
	}
	var leveled bool
	r.Event, r.Level, leveled = strings.Cut(what, ".")
	if events := routedEvents(); !slices.Contains(events, r.Event) {
		l.problem(name, e, l.show(r.Event)+" is no event", l.meant(r.Event, events))
		return r, false
	}
	if levels := levelWords(); leveled && !slices.Contains(levels, r.Level) {
		l.problem(name, e, l.show(r.Level)+" is no level", l.meant(r.Level, levels))
		return r, false
	}
	for receiver := range strings.SplitSeq(who, ",") {
		receiver = strings.TrimSpace(receiver)
		switch {
		case strings.Contains(receiver, "="):
			l.problem(name, e, l.show(receiver)+" is no receiver", "separate entries by blanks or semicolons, such as "+example+" rotated=log")
			return r, false
		case !slices.Contains(words, receiver):
			l.problem(name, e, l.show(receiver)+" is no receiver", l.meant(receiver, words))
			return r, false
		case !slices.Contains(r.Receivers, receiver):
			r.Receivers = append(r.Receivers, receiver)
		}
	}
	if slices.Contains(r.Receivers, nobody) {
		if len(r.Receivers) > 1 {
			l.problem(name, e, what+" names none and others", "write none alone, or leave it out")
			return r, false
		}
		r.Receivers = nil
	}
	return r, true
}

// meant says what to write for an unknown word, which may be anything.
func (l *loader) meant(word string, known []string) string {
	if word == "" || l.unshowable(word) {
		return "write " + orList(known)
	}
	return meant(word, known)
}

// warnRoutes tells of routes that change nothing.
func (l *loader) warnRoutes(routes []Route) {
	const name = routesSetting
	for i, r := range routes {
		if slices.ContainsFunc(routes[i+1:], func(later Route) bool {
			return later.Event == r.Event && (later.Level == r.Level || later.Level == "")
		}) {
			l.warn(name, r.words()+" has no effect, as another entry for it follows")
		}
	}
	for _, receiver := range receivers {
		if receiver.needs != "" && !l.given(receiver.needs) &&
			slices.ContainsFunc(routes, func(r Route) bool { return slices.Contains(r.Receivers, receiver.kind) }) {
			l.warn(name, receiver.kind+" hears of nothing, as "+l.calledLike(receiver.needs, name)+" is not set")
		}
	}
}

// words are what the route is for, as it is written.
func (r Route) words() string {
	if r.Level == "" {
		return r.Event
	}
	return r.Event + "." + r.Level
}
