package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// text is a message's subject and body. The subject stands alone in a list; the body alone, in a chat.
type text struct{ subject, body string }

// write says what happened, in the words of the user's story where it has them.
func write(e *event.Event) text {
	switch e.Kind {
	case event.Threshold:
		return threshold(e)
	case event.Forecast, event.PoolForecast:
		return forecast(e)
	case event.KeyInvalid, event.KeyRestricted, event.KeyCooling, event.KeyRecovered, event.KeyCleared, event.Rotated:
		return aboutKey(e)
	case event.Summary:
		return text{e.Detail, e.Text}
	}
	return aboutAll(e)
}

// subject is "🚨 CRITICAL: what" by the event's level.
func subject(e *event.Event, what string) string { return leveled(e.Level, what) }

// leveled is subject for who has no event.
func leveled(level event.Level, what string) string {
	switch level {
	case event.Critical:
		return "🚨 CRITICAL: " + what
	case event.Warning:
		return "⚠️ WARNING: " + what
	}
	return "ℹ️ " + what
}

// body is a heading, facts, and what can be done.
func body(heading string, facts []string, action string) string {
	parts := []string{heading}
	if len(facts) > 0 {
		parts = append(parts, strings.Join(facts, "\n"))
	}
	if action != "" {
		parts = append(parts, action)
	}
	return strings.Join(parts, "\n\n")
}

// keyFacts are the facts that every message about a key begins with.
func keyFacts(e *event.Event, more ...string) []string {
	id := e.Key
	if e.Label != "" {
		id += " (" + plain(e.Label, maxLabel) + ")"
	}
	return append([]string{"Provider: Groq", "Key ID: " + id}, more...)
}

func keyName(id string) string { return "Groq Key " + plain(id, maxLabel) }

func threshold(e *event.Event) text {
	facts := keyFacts(e, "Usage: "+quota.FormatPercent(e.Used, e.Limit),
		"Remaining: "+quota.Group(e.Remaining)+" "+e.Unit, "Resets at: "+resetsAt(e))
	name := fmt.Sprintf("%s at %d%%", keyName(e.Key), e.Percent)
	switch {
	case e.Percent >= 100:
		return text{subject(e, keyName(e.Key)+" is exhausted"), body("🔴 API Key Quota Exhausted", facts, next(e, "The next available key takes over."))}
	case e.Level == event.Critical:
		action := "⚡ Immediate Action Required:\n- Add backup keys for groq\n- Monitor usage closely\n- Consider rate limiting\n\n" +
			next(e, "System will auto-switch to next available key when exhausted.")
		return text{subject(e, name), body("CRITICAL: API Key Quota Nearly Exhausted", facts, action)}
	}
	return text{subject(e, name), body("⚠️ API Key Quota Warning", facts, "Action: Monitor usage or add backup keys")}
}

// next is what happens once the key is used up.
func next(e *event.Event, withOthers string) string {
	if e.Keys <= 1 {
		return "No other key is configured."
	}
	return withOthers
}

func forecast(e *event.Event) text {
	at := "by " + e.Until.UTC().Format("15:04") + " UTC"
	facts := []string{
		"Usage: " + quota.FormatPercent(e.Used, e.Limit), "Remaining: " + quota.Group(e.Remaining) + " tokens",
		"Rate: " + quota.Group(e.Rate) + " tokens an hour", "Resets at: " + resetsAt(e),
	}
	if e.Kind == event.Forecast {
		said := "At current rate, Key " + e.Key + " will exhaust " + at
		return text{subject(e, said), body("⏳ "+said, keyFacts(e, facts...), next(e, "The next available key takes over then."))}
	}
	said := "At current rate, the Groq pool will not last: all keys will be exhausted " + at
	return text{subject(e, said), body("CRITICAL: "+said, append([]string{"Provider: Groq"}, facts...),
		"⚡ Immediate Action Required:\n- Add keys for groq\n- Consider rate limiting\n\nCalls will be refused from then until the reset.")}
}

// refused says why Groq does not serve a key, by the kind of event.
var refused = map[event.Kind]struct{ what, why string }{
	event.KeyInvalid:    {"is invalid", "Groq does not accept the key. It is asked again after 1, 5 and 30 minutes, then hourly, and comes back by itself."},
	event.KeyRestricted: {"is restricted", "Groq does not serve the key's organization: it is restricted, or its spend limit is reached."},
}

func aboutKey(e *event.Event) text {
	code := optional("Code: ", e.Code)
	model := optional("Model: ", e.Detail)
	switch e.Kind {
	case event.Rotated:
		facts := append([]string{"Provider: Groq", "From: Key " + e.From, "To: Key " + e.To}, optional("Reason: ", e.Reason)...)
		return say(e, keyName(e.From)+" → "+keyName(e.To), "🔄 API Key Rotated", facts, "")
	case event.KeyCooling:
		facts := keyFacts(e, slices.Concat(code, model, until("Until: ", e.Until))...)
		return say(e, keyName(e.Key)+" is cooling down", "🧊 API Key Cooling Down", facts, "")
	case event.KeyRecovered:
		facts := keyFacts(e, slices.Concat(optional("After: ", e.Reason), model)...)
		return say(e, keyName(e.Key)+" may serve again", "✅ API Key Recovered", facts, "")
	case event.KeyCleared:
		return say(e, keyName(e.Key)+" was cleared", "🧹 API Key Cleared", keyFacts(e),
			"What was learned of its organization is forgotten; its keys are tried again.")
	}
	r := refused[e.Kind]
	return say(e, keyName(e.Key)+" "+r.what, "CRITICAL: API Key Refused", keyFacts(e, code...),
		r.why+"\n\n⚡ Immediate Action Required:\n- Check the key in Groq's console\n- Replace it, or remove it\n\n"+next(e, "Other keys serve meanwhile."))
}

func aboutAll(e *event.Event) text {
	groq, node := []string{"Provider: Groq"}, optional("Envoy: ", e.Node)
	switch e.Kind {
	case event.AllOut:
		return say(e, fmt.Sprintf("All %d Groq keys are out", e.Keys), "CRITICAL: No API Key Can Serve",
			append(append(groq, fmt.Sprintf("Keys: %d", e.Keys)), until("First one back: ", e.Until)...),
			"⚡ Immediate Action Required:\n- Add keys for groq\n- Consider rate limiting\n\nCalls are refused with 429 until then.")
	case event.AllBack:
		return say(e, "Groq keys serve again", "✅ API Keys Serve Again", groq, "")
	case event.Reset:
		return say(e, "New day "+e.Window+": all Groq keys at 0", "🌅 API Key Quotas Reset", append(groq, "Day: "+e.Window+" (UTC)"), "")
	case event.Edge:
		return say(e, "A call was refused before any key was looked at", "🚧 Refused by the Network or Groq's Edge", node, "")
	case event.Rejected:
		return say(e, "An Envoy refused its assignment", "Assignment Refused", append(node, optional("Reason: ", e.Detail)...),
			"The last good one stays in force.")
	case event.OldEnvoy:
		return say(e, "An Envoy is too old", "Envoy Too Old", append(node, optional("Version: ", e.Detail)...),
			"Use Envoy 1.39 or newer: older ones kill the filter.")
	case event.ClockSkew:
		ahead := "Ahead by: " + (time.Duration(e.SkewS) * time.Second).String()
		return say(e, "An Envoy's clock is wrong", "Clock Skew", append(node, ahead),
			"Windows and waits are right all the same; its own logs and certificates may not be.")
	case event.Quarantined:
		return say(e, "Impossible usage was set aside", "Impossible Usage", keyFacts(e, append(node, "Tokens: "+quota.Group(e.Used))...), "")
	case event.Panicked:
		return say(e, "The filter of an Envoy met a bug", "Bug in the Filter", append(node, optional("Detail: ", e.Detail)...),
			"Each one costs the call that meets it. Please report what Envoy's log says of it.")
	case event.Voided:
		facts := slices.Concat(node, optional("Process: ", e.Detail), []string{"Tokens: " + quota.Group(e.Used)}, optional("By: ", e.By))
		return say(e, "What an Envoy counted was taken out of the account", "Envoy Voided", facts,
			"Its reports are refused, so what it goes on to spend is not counted. Start it again.")
	case event.Restored:
		return restored(e, node)
	}
	return say(e, "Keywheel test message", "🔔 Keywheel Test Message", nil, "If you read this, Keywheel reaches you here.")
}

// restored is of a backup that a person restored, or of a store in whose place somebody put an older one.
func restored(e *event.Event, node []string) text {
	if e.By == "" {
		return say(e, "The account is older than what an Envoy knows of it", "Older Account", append(node, optional("Reason: ", e.Detail)...),
			"What living Envoys counted since comes back with their usage reports. What others counted is lost.")
	}
	return say(e, "A backup was put in the place of the account", "Backup Restored", []string{"By: " + plain(e.By, maxDetail)},
		"What living Envoys counted since the backup comes back with their usage reports. What others counted is lost.")
}

// say is a text by its subject and the parts of its body.
func say(e *event.Event, what, heading string, facts []string, action string) text {
	return text{subject(e, what), body(heading, facts, action)}
}

// resetsAt is the end of the event's window.
func resetsAt(e *event.Event) string {
	w, err := quota.ParseWindow(e.Window)
	if err != nil {
		return e.Window
	}
	return stamp(w.End())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// optional is a fact, if there is one.
func optional(name, value string) []string {
	if value == "" {
		return nil
	}
	return []string{name + plain(value, maxDetail)}
}

func until(name string, t time.Time) []string {
	if t.IsZero() {
		return nil
	}
	return []string{name + stamp(t)}
}

// The longest foreign texts in a message, in characters.
const (
	maxLabel  = 64
	maxDetail = 300
)

// plain is a foreign text that stays within its line and its length: without control characters, line breaks, and
// marks that change the direction of what comes after it.
func plain(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar
	}), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most-1]) + "…"
	}
	return s
}

// Headline is what happened, in one line.
func Headline(e *event.Event) string { return plain(write(e).subject, maxDetail) }
