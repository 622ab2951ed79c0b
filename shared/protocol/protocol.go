// Package protocol is the wire contract between the filter and the control plane: the assignment that travels
// to Envoy by ECDS, the usage report that travels back, and the answer to it.
//
// It is a leaf: the small standard library and gjson only, because every import is memory in every Envoy worker.
// The control plane uses encoding/json with the tags below; the filter uses the append and parse functions, which
// are tested to agree with it.
//
// Rules that make the contract safe to lose, repeat and reorder:
//   - Counts are cumulative since the incarnation began and only grow. The receiver keeps the highest.
//   - Times cross the wire as durations relative to the message, never as wall time, except Now.
//   - A reader ignores fields it does not know and refuses a Version it does not know.
package protocol

// Version is the version of all three messages. A message of another version is refused whole.
const Version = 1

// ReportPath is where the control plane takes usage reports, on the xDS address (HTTP/2 POST).
const ReportPath = "/v1/reports"

// AssignmentPath is where a filter that another control plane configures asks for its assignment, on the xDS address: a GET
// with the proxy token as bearer. The answer is what ECDS would bring, a Bundle's bytes, with a version as its ETag.
const AssignmentPath = "/v1/assignment"

// ProxyTokenVariable is the environment variable that holds the proxy token, for the control plane and for the filter.
const ProxyTokenVariable = "KEYWHEEL_PROXY_TOKEN" //nolint:gosec // a name

// Names of the ECDS resources; they are also the root_id by which the module knows its role. A gate alone is for places
// that have no upstream filters: it picks and sets the key itself, once for each call.
const (
	GateResource     = "keywheel.gate"
	AttemptResource  = "keywheel.attempt"
	GateOnlyResource = "keywheel.gate_only"
)

// ModeGateOnly is the Report.Mode of an Envoy whose filter is a gate alone.
const ModeGateOnly = "gate_only"

// Names inside the generic_secret.secrets map of the plugin configuration. Every other name in it is a CredentialID
// whose value is that credential's secret. The gate's configuration holds no credentials.
const (
	AssignmentSecret = "assignment"
	TokenSecret      = "report-token"
)

// ControlPlaneCluster is the Envoy cluster that leads to the control plane, for xDS and for reports.
const ControlPlaneCluster = "keywheel_control_plane"

// Unlimited stands in an allowance or a fresh slice for a key without a limit.
const Unlimited = -1

// CredentialID is a key ID and a revision, "1.2". Everything counted or learned is kept by credential.
type CredentialID = string

// Clock maps a host's clock to Keywheel's: now = AnchorNowMS + (host - AnchorHostMS) × Speed.
// The zero value is the host's own clock.
type Clock struct {
	AnchorHostMS int64   `json:"anchor_host_ms,omitempty"` // Unix milliseconds
	AnchorNowMS  int64   `json:"anchor_now_ms,omitempty"`  // Unix milliseconds
	Speed        float64 `json:"speed,omitempty"`          // 0 with a set AnchorNowMS: time stands still
}

// Assignment is what a filter may spend, and how. It travels by ECDS, without the secrets themselves. It changes only
// with its content, so that an unchanged one is never pushed again: counters never stand in it.
type Assignment struct {
	Version    int    `json:"v"`
	Epoch      int64  `json:"epoch"`      // rises with each new or restored store
	Generation int64  `json:"generation"` // rises with each change within an epoch
	Clock      Clock  `json:"clock"`
	Policy     Policy `json:"policy"`
	Keys       []Key  `json:"keys"` // in rank order: by priority, then by ID
}

// Policy is what holds for all keys.
type Policy struct {
	Strategy         string `json:"strategy"`                  // "priority" or "balanced"
	RequiredTokens   int64  `json:"required_tokens,omitempty"` // fixed need of a request; 0: estimated
	ReportIntervalMS int64  `json:"report_interval_ms"`
	LoopGuard        bool   `json:"loop_guard,omitempty"` // mark requests so that a second pass is answered 508
	Demo             bool   `json:"demo,omitempty"`       // answers carry x-keywheel-demo: true

	CallerHeader string `json:"caller_header,omitempty"` // request header that names a caller, in small letters; empty: callers are not counted
	UseKey       bool   `json:"use_key,omitempty"`       // a client may ask for one key by x-keywheel-use-key
}

// Key is one credential in its place.
type Key struct {
	ID            string       `json:"id"`
	Credential    CredentialID `json:"credential"`
	Priority      int          `json:"priority"` // lower first
	Org           string       `json:"org"`      // keys of one organization share what is learned of its limits
	Tier          string       `json:"tier"`     // "free" or "paid"
	Disabled      bool         `json:"disabled,omitempty"`
	LimitTokens   int64        `json:"limit_tokens,omitempty"`   // a day; 0: no limit
	LimitRequests int64        `json:"limit_requests,omitempty"` // a day; 0: no limit
	Fresh         []Fresh      `json:"fresh"`                    // the current and the next window

	// Models are the only ones that the key may be used for, by the exact name that a request gives; empty: every model.
	// A request whose model is not seen (it is not JSON, or names it beyond the first 512 KiB) goes to keys without a list
	// only. A request that costs nothing (GET models) goes to any key.
	Models []string `json:"models,omitempty"`
}

// Fresh is the slice that an incarnation may spend which the control plane has not yet named.
type Fresh struct {
	Window   string `json:"window"`   // "2025-11-18"
	Tokens   int64  `json:"tokens"`   // Unlimited: no limit
	Requests int64  `json:"requests"` // Unlimited: no limit
}

// Answer is the answer to an accepted report: the newest assignment without secrets, for this incarnation.
type Answer struct {
	Version     int         `json:"v"`
	Epoch       int64       `json:"epoch"`
	Generation  int64       `json:"generation"` // of these allowances; at least that of the newest pushed assignment
	Assignment  int64       `json:"assignment"` // generation of the newest assignment that can be fetched; 0: not said
	Incarnation string      `json:"incarnation"`
	NowMS       int64       `json:"now_ms"` // Keywheel's time when the answer was made, Unix milliseconds
	Clock       Clock       `json:"clock"`
	Allowances  []Allowance `json:"allowances"`
	Findings    []Finding   `json:"findings"` // all in force that this incarnation may not have learned itself
	Keys        []KeyState  `json:"keys"`
}

// Allowance is how far one incarnation may spend a credential in a window, counted as that incarnation counts:
// spent + reserved + needed ≤ Tokens.
type Allowance struct {
	Credential CredentialID `json:"credential"`
	Window     string       `json:"window"`
	Tokens     int64        `json:"tokens"`   // Unlimited: no limit
	Requests   int64        `json:"requests"` // Unlimited: no limit
	// More says that a later answer may allow more in this window, as others hold or have not yet been granted a
	// part of what remains: reaching this allowance is then no exhaustion but a wait.
	More bool `json:"more,omitempty"`
}

// KeyState is what the control plane measured of a key over all Envoys, for the balanced strategy's score.
type KeyState struct {
	ID       string  `json:"id"`
	Health   float64 `json:"health"`    // 0…1, of the last 15 minutes
	MedianMS int64   `json:"median_ms"` // 0: not measured
}

// FindingKind says what an answer of Groq's taught about a credential.
type FindingKind string

// The kinds of finding, with the scope in which each holds.
const (
	Cooling    FindingKind = "cooling"    // organization and model: a rate limit was reached
	Invalid    FindingKind = "invalid"    // credential: Groq does not know the secret
	Restricted FindingKind = "restricted" // organization: restricted, or its spend limit is reached
	Blocked    FindingKind = "blocked"    // organization and model: no permission, or terms not accepted
)

// Finding is something learned, still in force. Findings of an older revision are counted and ignored.
type Finding struct {
	Credential  CredentialID `json:"credential"` // whose answer taught it
	Org         string       `json:"org"`
	Model       string       `json:"model,omitempty"` // empty: every model
	Kind        FindingKind  `json:"kind"`
	Code        string       `json:"code,omitempty"` // Groq's error code, at most 64 bytes
	RemainingMS int64        `json:"remaining_ms"`   // until it ends by itself
	AgeMS       int64        `json:"age_ms"`         // since it was learned
}

// Report is one incarnation's usage, cumulative since it began.
type Report struct {
	Version     int             `json:"v"`
	Node        string          `json:"node"`             // Envoy's node id; not unique
	Incarnation string          `json:"incarnation"`      // UUIDv7 made at the start of the Envoy process
	Seq         int64           `json:"seq"`              // rises with every report sent
	NowMS       int64           `json:"now_ms"`           // the filter's now, Unix milliseconds
	HostMS      int64           `json:"host_ms"`          // the host's clock, Unix milliseconds
	Epoch       int64           `json:"epoch"`            // of the allowances in force
	Generation  int64           `json:"generation"`       // of the allowances in force; 0: only fresh slices
	Config      int64           `json:"config"`           // generation of the assignment that came with the keys and is in force
	BadConfigs  int64           `json:"bad_configs"`      // assignments refused since the incarnation began
	Panics      int64           `json:"panics,omitempty"` // bugs that callbacks met since the incarnation began
	Mode        string          `json:"mode,omitempty"`   // ModeGateOnly; empty: a gate with attempts
	Windows     []WindowUsage   `json:"windows"`
	Findings    []Finding       `json:"findings"`
	Notes       []Note          `json:"notes"`
	Reserved    []CredentialUse `json:"reserved"` // held now by requests in flight
}

// CredentialUse is what requests in flight hold of a credential.
type CredentialUse struct {
	Credential CredentialID `json:"credential"`
	Tokens     int64        `json:"tokens"`
	Requests   int64        `json:"requests"`
}

// WindowUsage is what an incarnation did in one window.
type WindowUsage struct {
	Window      string            `json:"window"`
	Gate        GateUsage         `json:"gate"`
	Credentials []CredentialUsage `json:"credentials"`
	Callers     []CallerUsage     `json:"callers,omitempty"` // at most MaxCallers, and OtherCaller
}

// Bounds and names of callers.
const (
	MaxCallers  = 200     // that are counted apart in a window, by a process or by the control plane
	OtherCaller = "other" // all callers beyond those, and those whose name cannot be used
	NoCaller    = "none"  // calls that name no caller

	MaxCallerName = 64 // bytes; names are printable ASCII
)

// CallerUsage is what one caller took: calls as the gate saw them end, whatever became of them, and the tokens of all
// their tries.
type CallerUsage struct {
	Caller     string `json:"caller"`
	Requests   int64  `json:"requests"`
	Prompt     int64  `json:"prompt"`
	Completion int64  `json:"completion"`
	Total      int64  `json:"total"` // with what was estimated, and so at least Prompt + Completion
}

// GateUsage counts client calls, as the gate saw them end.
type GateUsage struct {
	Requests       int64 `json:"requests"`         // all that ended
	Succeeded      int64 `json:"succeeded"`        // answers that are not 5xx, not 429, not cut off, not the caller's fault
	CallerFaults   int64 `json:"caller_faults"`    // 4xx that no key could have helped, and local refusals of the caller's doing
	Refused        int64 `json:"refused"`          // refused locally because no key was left
	Failed         int64 `json:"failed"`           // 5xx and 429 that reached the client from upstream or from Envoy
	Cut            int64 `json:"cut"`              // ended before their last byte
	Limited        int64 `json:"limited"`          // of Failed: 429 that reached the client from upstream
	Rescues        int64 `json:"rescues"`          // calls in which another key took over, and served
	TimeMS         int64 `json:"time_ms"`          // headers in to last byte out, summed over Succeeded
	FirstRefusalMS int64 `json:"first_refusal_ms"` // age of the first refusal since the last served call; 0: none
	LastRefusalMS  int64 `json:"last_refusal_ms"`  // age; 0: none
	LastServedMS   int64 `json:"last_served_ms"`   // age of the last success; 0: none
}

// CredentialUsage counts what one credential was spent on in one window.
type CredentialUsage struct {
	Credential CredentialID     `json:"credential"`
	Requests   int64            `json:"requests"` // charged attempts
	Attempts   map[string]int64 `json:"attempts"` // by failure class (groq.Class), "ok" included
	TimeMS     []int64          `json:"time_ms"`  // histogram of response times of successes, by TimeBuckets
	Models     []ModelUsage     `json:"models"`   // at most 32, then "other"
}

// ModelUsage is the tokens that one model took. Total is what counts against the limit.
type ModelUsage struct {
	Model      string `json:"model"`
	Prompt     int64  `json:"prompt"`
	Completion int64  `json:"completion"`
	Cached     int64  `json:"cached"`    // inside Prompt
	Total      int64  `json:"total"`     // includes Estimated
	Estimated  int64  `json:"estimated"` // the part of Total that no answer stated
}

// NoteKind says what a note tells.
type NoteKind string

// The kinds of note.
const (
	NoteRotated    NoteKind = "rotated"    // the key in use left because it cannot serve, another takes over
	NoteReturned   NoteKind = "returned"   // a better key can serve again and takes over
	NoteCompletion NoteKind = "completion" // the first completion after a change of the key in use
	NoteOut        NoteKind = "out"        // no key could serve a call
	NoteEdge       NoteKind = "edge"       // the network or Groq's edge refused us, not the key
)

// Note is something that happened, for log lines and rotations only, never for the account.
type Note struct {
	Seq     int64        `json:"seq"`
	Kind    NoteKind     `json:"kind"`
	Window  string       `json:"window"`
	AgeMS   int64        `json:"age_ms"`
	From    CredentialID `json:"from,omitempty"`
	To      CredentialID `json:"to,omitempty"`
	Reason  string       `json:"reason,omitempty"`  // selection.Reason of the key that left
	Ordinal int64        `json:"ordinal,omitempty"` // completed requests of the window in this incarnation, with this one
	Tokens  int64        `json:"tokens,omitempty"`
}

// TimeBuckets are the upper bounds of the response-time histogram in milliseconds; a last bucket holds the rest.
var TimeBuckets = [...]int64{5, 10, 20, 40, 80, 120, 180, 270, 400, 600, 900, 1350, 2000, 3000, 4500, 6750, 10000, 20000, 40000, 80000, 160000}
