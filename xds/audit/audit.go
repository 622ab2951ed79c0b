// Package audit has the record of a change that a person or a file made: who, what and when, never the secret.
package audit

import "time"

// Who made a change, by what they showed.
const (
	Admin  = "admin"       // the admin token
	Read   = "read"        // the read-only token, which changes nothing
	Page   = "page"        // the dashboard, signed in
	File   = "file"        // a settings file that was edited
	Nobody = "nobody"      // no valid token
	Probe  = "probe"       // Keywheel itself, which found a refused key accepted again
	Start  = "environment" // the settings at the start
	Shell  = "shell"       // a command on the store of a Keywheel that did not run
)

// Outcomes.
const (
	Done    = "done"
	Refused = "refused"
)

// Entry is one change, or the attempt at one.
type Entry struct {
	ID      int64     `json:"id"` // 1 more than the one before
	At      time.Time `json:"at"` // the ledger's time
	Who     string    `json:"who"`
	From    string    `json:"from,omitempty"` // address
	What    string    `json:"what"`           // "change key"
	Key     string    `json:"key,omitempty"`
	Fields  []string  `json:"fields,omitempty"` // that were set; of a secret only that it was
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail,omitempty"`
}
