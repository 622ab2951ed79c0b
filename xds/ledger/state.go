package ledger

import (
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Buckets of the store. Others may be there; they are somebody else's.
const (
	metaBucket        = "meta"
	credentialBucket  = "credentials"
	incarnationBucket = "incarnations"
	sourceBucket      = "sources"
	gateBucket        = "gates"
	dayBucket         = "days"
	crossedBucket     = "crossed"
	findingBucket     = "findings"
	eventBucket       = "events"
	noticeBucket      = "outbox"
	seriesBucket      = "series"
	documentBucket    = "documents"
	auditBucket       = "audit"
)

// Keys of the bucket meta.
const (
	metaKey  = "ledger"
	tokenKey = "report-token"
)

// record is something that the store keeps as JSON.
type record interface {
	place() (bucket, key string)
	kept() any // what is kept of it; nil: it is gone
}

// meta is what there is one of.
type meta struct {
	Epoch         int64  `json:"epoch"`      // Unix milliseconds of the host
	Generation    int64  `json:"generation"` // the newest
	CreatedMS     int64  `json:"created_ms"`
	Pushed        int64  `json:"pushed"`     // generation of the assignment
	PushedSum     string `json:"pushed_sum"` // of its content
	Announced     string `json:"announced"`  // the newest window that was begun
	FoldedThrough string `json:"folded_through,omitempty"`
	FoldedAtMS    int64  `json:"folded_at_ms,omitempty"` // by the host's clock
	LastEvent     int64  `json:"last_event"`
	LastNotice    int64  `json:"last_notice,omitempty"`
	LastAudit     int64  `json:"last_audit,omitempty"`
	InUse         inUse  `json:"in_use"`
	AllOut        bool   `json:"all_out,omitempty"`
	Summarized    string `json:"summarized,omitempty"` // the newest window whose summary was told
}

// inUse is the key that filters last said they use.
type inUse struct {
	Key    string `json:"key,omitempty"`
	Window string `json:"window,omitempty"`
	AtMS   int64  `json:"at_ms,omitempty"`
}

func (m *meta) place() (string, string) { return metaBucket, metaKey }
func (m *meta) kept() any               { return m }

// credential is which revision of a key is in force.
type credential struct {
	id       string // of the key
	Revision uint32 `json:"revision"`
	Base     uint32 `json:"base"` // the first revision of the present secret
	Hash     []byte `json:"hash"` // SHA-256 of the secret
	Earlier  []era  `json:"earlier,omitempty"`

	gone bool
}

func (c *credential) place() (string, string) { return credentialBucket, c.id }
func (c *credential) kept() any {
	if c.gone {
		return nil
	}
	return c
}

// incarnation is one Envoy process.
type incarnation struct {
	id      string
	started time.Time // by its UUIDv7
	incarnationRecord

	// What follows is as of the last report and is not kept.
	met        bool      // here, not by whoever kept the store before
	seen       time.Time // by the monotonic clock
	reportedAt time.Time
	refusedAt  time.Time // when it last reported though it is voided, by the ledger's time
	seq        int64
	reports    int64
	generation int64
	config     int64
	badConfigs int64
	gateOnly   bool
	skewMS     int64
	toldSkew   bool
	offeredAt  int64 // the generation in which an offer to it last changed
	conns      map[uint64]*conn
	sources    map[*source]struct{}
	replaced   map[*source]struct{} // of credentials that were replaced, of which it may still spend
	gone       bool
}

type incarnationRecord struct {
	Node    string `json:"node"`
	FirstMS int64  `json:"first_ms"` // first report, Unix milliseconds of the ledger's time
	LastMS  int64  `json:"last_ms"`  // a report about the last
	NoteSeq int64  `json:"note_seq"` // highest note taken in
	Dead    bool   `json:"dead,omitempty"`
	Voided  bool   `json:"voided,omitempty"` // a person said that nothing of it counts
	Panics  int64  `json:"panics,omitempty"` // bugs that its filter met
}

func (i *incarnation) place() (string, string) { return incarnationBucket, i.id }
func (i *incarnation) kept() any {
	if i.gone {
		return nil
	}
	return i.incarnationRecord
}

// sourceID names what is counted apart: one incarnation's use of a credential in a window.
type sourceID struct {
	window      quota.Window
	incarnation string
	credential  protocol.CredentialID
}

// source is the highest that was reported of each cumulative count.
type source struct {
	id  sourceID
	inc *incarnation
	sourceRecord

	tokens, requests grant
	spent            int64    // tokens that count against the limit
	estimated        int64    // the part of spent that no answer stated
	account          *account // nil: of no key that is configured, or of a secret before the present one
	gone             bool
}

type sourceRecord struct {
	Requests    int64                 `json:"requests,omitempty"`
	Attempts    map[string]int64      `json:"attempts,omitempty"`
	TimeMS      []int64               `json:"time_ms,omitempty"`
	Models      []protocol.ModelUsage `json:"models,omitempty"`
	Quarantined int64                 `json:"quarantined,omitempty"` // tokens in Models that are not counted

	GrantedTokens   int64 `json:"granted_tokens,omitempty"`
	GrantedRequests int64 `json:"granted_requests,omitempty"`
}

func (s *source) place() (string, string) {
	return sourceBucket, s.id.window.String() + "/" + s.id.incarnation + "/" + s.id.credential
}

func (s *source) kept() any {
	if s.gone {
		return nil
	}
	r := s.sourceRecord
	r.GrantedTokens, r.GrantedRequests = s.tokens.granted, s.requests.granted
	return r
}

// count works out what follows from the kept counts.
func (s *source) count() {
	s.spent, s.estimated = -s.Quarantined, 0
	for i := range s.Models {
		s.spent += s.Models[i].Total
		s.estimated += s.Models[i].Estimated
	}
	s.spent = max(0, s.spent)
	s.estimated = min(s.estimated, s.spent)
}

type gateID struct {
	window      quota.Window
	incarnation string
}

// gate is what an incarnation's gate counted in a window.
type gate struct {
	id gateID
	gateRecord
	gone bool
}

type gateRecord struct {
	protocol.GateUsage       // its ages are 0; instead:
	FirstRefusalAtMS   int64 `json:"first_refusal_at_ms,omitempty"` // Unix milliseconds of the ledger's time
	LastRefusalAtMS    int64 `json:"last_refusal_at_ms,omitempty"`
	LastServedAtMS     int64 `json:"last_served_at_ms,omitempty"`
}

func (g *gate) place() (string, string) {
	return gateBucket, g.id.window.String() + "/" + g.id.incarnation
}

func (g *gate) kept() any {
	if g.gone {
		return nil
	}
	return g.gateRecord
}

// crossed is what was told of a key in a window: which thresholds it reached, each once, whatever happens to the limit,
// and when it will be used up. The empty key is the pool.
type crossed struct {
	window   quota.Window
	key      string
	Levels   []int `json:"levels"`
	Forecast bool  `json:"forecast,omitempty"`

	gone bool
}

type crossedID struct {
	window quota.Window
	key    string
}

func (c *crossed) place() (string, string) { return crossedBucket, c.window.String() + "/" + c.key }
func (c *crossed) kept() any {
	if c.gone {
		return nil
	}
	return c
}

// account is a key in a window.
type account struct {
	key              *key
	window           quota.Window
	tokens, requests meter
	estimated        int64
	own              map[*incarnation]*source // of the credential in force
}

// key is a configured key with what follows from the records.
type key struct {
	KeyConfig
	cred     *credential
	inForce  protocol.CredentialID
	accounts map[quota.Window]*account
	ring     *ring
}

// account returns the key's account in a window. One that nothing was counted in yet is empty.
func (k *key) account(w quota.Window) *account {
	a := k.accounts[w]
	if a == nil {
		a = &account{key: k, window: w, tokens: meter{limit: k.LimitTokens}, requests: meter{limit: k.LimitRequests}, own: map[*incarnation]*source{}}
		k.accounts[w] = a
	}
	return a
}

// limited says whether anything of the key has a limit.
func (k *key) limited() bool { return k.LimitTokens > 0 || k.LimitRequests > 0 }

// name is how the key is called in log lines.
func (k *key) name() string { return "Groq Key " + k.ID }

// enter counts a source in, with what it may still spend if it lives. A source leaves before it changes, and enters
// after.
func (a *account) enter(s *source) { a.move(s, 1) }

func (a *account) leave(s *source) { a.move(s, -1) }

func (a *account) move(s *source, sign int64) {
	if a == nil {
		return
	}
	a.tokens.spent += sign * s.spent
	a.requests.spent += sign * s.Requests
	a.estimated += sign * s.estimated
	if !s.inc.Dead {
		a.tokens.held += sign * s.tokens.hold(s.spent)
		a.requests.held += sign * s.requests.hold(s.Requests)
	}
}
