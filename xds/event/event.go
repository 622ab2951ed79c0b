// Package event has the words for what happened to keys, pool and Envoys. The ledger records events, notify tells
// people of them, admin and the command line show them.
package event

import "time"

// Kind says what happened.
type Kind string

// The kinds of event.
const (
	Threshold     Kind = "threshold"      // so many percent of a key's limit are used
	Rotated       Kind = "rotated"        // the key in use left because it cannot serve, another took over
	KeyInvalid    Kind = "key_invalid"    // Groq does not know the secret
	KeyRestricted Kind = "key_restricted" // Groq serves the organization nothing
	KeyCooling    Kind = "key_cooling"    // for long
	KeyRecovered  Kind = "key_recovered"  // from what Reason names
	KeyCleared    Kind = "key_cleared"    // by a person or a probe
	AllOut        Kind = "all_out"        // no key could serve a call
	AllBack       Kind = "all_back"
	Reset         Kind = "reset"         // a new window began
	Edge          Kind = "edge"          // the network or Groq's edge refused us, not the key
	Rejected      Kind = "rejected"      // an Envoy refused the assignment
	OldEnvoy      Kind = "old_envoy"     // an Envoy is too old for the filter
	Quarantined   Kind = "quarantined"   // usage that cannot be was set aside
	Panicked      Kind = "panicked"      // an Envoy's filter met a bug
	ClockSkew     Kind = "clock_skew"    // an Envoy's clock is far from ours
	Voided        Kind = "voided"        // a person took what an Envoy counted out of the account
	Restored      Kind = "restored"      // the account is an older one: a backup, or a copy of the store
	Forecast      Kind = "forecast"      // a key runs out before the reset at the current rate
	PoolForecast  Kind = "pool_forecast" // all keys together do
	Summary       Kind = "summary"       // of a day that is over
	Test          Kind = "test"          // somebody tries whether messages arrive
)

// Kinds returns every kind, in the order above.
func Kinds() []Kind {
	return []Kind{
		Threshold, Rotated, KeyInvalid, KeyRestricted, KeyCooling, KeyRecovered, KeyCleared, AllOut, AllBack, Reset, Edge, Rejected, OldEnvoy,
		Quarantined, Panicked, ClockSkew, Voided, Restored, Forecast, PoolForecast, Summary, Test,
	}
}

// Level says how much an event matters.
type Level string

// The levels. Warning and above are alerts.
const (
	Info     Level = "info"
	Warning  Level = "warning"
	Critical Level = "critical"
)

// Levels returns every level, the least first.
func Levels() []Level { return []Level{Info, Warning, Critical} }

// Units of a threshold.
const (
	Tokens   = "tokens"
	Requests = "requests"
)

// Event is something that happened. It is kept in the same commit as what caused it, and holds all that a message about
// it says: a message that is sent again later says the same.
type Event struct {
	ID     int64     `json:"id"` // 1 more than the one before
	At     time.Time `json:"at"` // the ledger's time
	Kind   Kind      `json:"kind"`
	Level  Level     `json:"level"`
	Key    string    `json:"key,omitempty"`
	Label  string    `json:"label,omitempty"` // the key's, where people gave it one
	Keys   int       `json:"keys,omitempty"`  // how many are configured
	Window string    `json:"window"`          // that it is about

	// A threshold's percentage and the actual figures; a threshold of requests says so in Unit.
	Percent   int    `json:"percent,omitempty"`
	Used      int64  `json:"used,omitempty"`
	Limit     int64  `json:"limit,omitempty"`
	Remaining int64  `json:"remaining,omitempty"`
	Unit      string `json:"unit,omitempty"` // Tokens or Requests
	Late      bool   `json:"late,omitempty"` // its window was over when it became known

	From   string `json:"from,omitempty"` // key IDs of a rotation
	To     string `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
	Code   string `json:"code,omitempty"` // Groq's
	Node   string `json:"node,omitempty"`
	Detail string `json:"detail,omitempty"`
	By     string `json:"by,omitempty"` // who did it, as the audit has it; empty: nobody did

	Until time.Time `json:"until,omitzero"`   // when a rest ends, or a forecast comes true
	Rate  int64     `json:"rate,omitempty"`   // tokens an hour, of a forecast
	Text  string    `json:"text,omitempty"`   // a summary's, ready to be read
	SkewS int64     `json:"skew_s,omitempty"` // seconds that an Envoy's clock is ahead of ours
}

// Ends returns the kind and level of the alert that an event of recovery ends: people who were told of the one hear of
// the other. ok is false for any other event.
func (e *Event) Ends() (kind Kind, level Level, ok bool) {
	switch {
	case e.Kind == AllBack:
		return AllOut, Critical, true
	case e.Kind == KeyRecovered && e.Reason == "invalid":
		return KeyInvalid, Critical, true
	case e.Kind == KeyRecovered && e.Reason == "restricted":
		return KeyRestricted, Critical, true
	case e.Kind == KeyRecovered:
		return KeyCooling, Info, true
	}
	return "", "", false
}

// Alert says whether the event is one of the alerts that a day's summary counts: of level warning or above, forecasts
// aside.
func (e *Event) Alert() bool {
	return e.Level != Info && e.Kind != PoolForecast && e.Kind != Forecast && e.Kind != Test
}
