package ledger

import (
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// KeyConfig is a key as the roster holds it, without its secret. The ledger counts and decides by it.
type KeyConfig struct {
	ID            string
	Label         string // "Primary"
	Priority      int
	Rank          int // 0 for the first in (priority, ID) order
	Org           string
	Tier          string // "free" or "paid"
	Disabled      bool
	LimitTokens   int64    // a day; 0: no limit
	LimitRequests int64    // a day; 0: no limit
	Thresholds    []int    // percent, ascending
	Models        []string // that it may be used for; none: every model
	SecretHash    [32]byte
}

// View is the account at one instant, for showing: a value that nobody changes any more.
type View struct {
	Now      time.Time
	Window   quota.Window
	ResetsAt time.Time
	Health   float64 // of the group, 0…100, one decimal
	Pool     PoolView
	Keys     []KeyView // in rank order
	Proxies  []ProxyView

	StoreError string // why usage cannot be written now; empty: it can
}

// PoolView is all keys together.
type PoolView struct {
	Used      int64 // tokens in the window
	Limit     int64 // 0: some key has no limit
	Remaining int64 // -1: unknown, as some key has no limit
	Requests  int64 // client calls in the window
	Succeeded int64
	Refused   int64
	Rotations int64
	Rescues   int64
	KeyInUse  string // key ID; empty: none yet
	AllOut    bool   // calls are refused because no key can serve
	Downtime  time.Duration
	// ExhaustedAt is when the pool runs out at the current rate; zero: unknown, or not before the reset.
	ExhaustedAt time.Time
}

// KeyView is one key.
type KeyView struct {
	KeyConfig
	Credential   protocol.CredentialID
	Status       quota.Status
	InUse        bool
	Used         int64     // tokens in the window
	Remaining    int64     // -1: no limit
	Percent      float64   // 0…, one decimal
	Requests     int64     // charged attempts in the window
	Estimated    int64     // the part of Used that no answer stated
	Health       float64   // 0…100, one decimal
	Score        float64   // 0…100, one decimal
	MedianMS     int64     // 0: not measured
	CoolingUntil time.Time // zero: not cooling; for every model
	ExhaustedAt  time.Time // at the current rate; zero: unknown, or not before the reset
	InvalidSince time.Time // zero: valid
	Reason       string    // Groq's error code behind invalid or cooling
}

// ProxyView is one Envoy process that reports.
type ProxyView struct {
	Incarnation string
	Node        string
	Version     string // Envoy's, by xDS; empty: unknown
	Connected   bool
	Generation  int64  // of the allowances it runs
	Config      int64  // of the assignment it runs
	Rejected    int64  // assignments refused (NACKs and bad configurations)
	LastError   string // the newest NACK's message
	FirstReport time.Time
	LastReport  time.Time
	Reports     int64
	Voided      bool  // a person said that nothing of it counts; its reports are refused
	Quarantined int64 // tokens of the days that can still change that were set aside, as nothing explains them
	Panics      int64 // bugs that its filter met since it began
	// RefusedAt is when a report of it was last refused because it is voided: it still runs then. Zero: none was, since we began.
	RefusedAt time.Time
	SkewMS    int64 // its clock less ours, when it last reported
	GateOnly  bool  // its filter is a gate alone: no call of its is tried with a second key
}
