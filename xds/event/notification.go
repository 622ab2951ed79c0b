package event

import "time"

// State is what became of a notification.
type State string

// The states.
const (
	Waiting State = "waiting" // to be sent, or to be sent again
	Sent    State = "sent"    // the receiver took it
	Failed  State = "failed"  // given up; Error says why
)

// Notification is one delivery of an event to one receiver.
type Notification struct {
	Seq      int64  `json:"-"` // 1 more than the one before
	ID       string `json:"id"`
	Receiver string `json:"receiver"`
	Event    Event  `json:"event"`
	State    State  `json:"state"`

	// Message is the ID of the message that it is or was sent in: its own, or where several went together that of the
	// first of them. A message that is sent again has the same one, by which a receiver can drop repeats.
	Message string `json:"message"`

	Attempts  int       `json:"attempts,omitempty"`
	Error     string    `json:"error,omitempty"`     // of the last attempt
	TriedAt   time.Time `json:"tried_at,omitzero"`   // the last time, by the ledger's clock
	NextAt    time.Time `json:"next_at,omitzero"`    // not before this; zero: at once
	SettledAt time.Time `json:"settled_at,omitzero"` // when it became Sent or Failed
}
