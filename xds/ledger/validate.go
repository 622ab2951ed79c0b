package ledger

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Bounds of a report. What filters send stays far below them.
const (
	maxCount       = 1 << 53
	maxWindows     = 8
	maxCredentials = 8192 // in a window, and reserved
	maxModels      = 64   // of a credential in a window
	maxClasses     = 32
	maxFindings    = 1024
	maxNotes       = 256
	maxName        = 256 // bytes of a node's or model's name
	maxWord        = 64  // bytes of credentials, codes, reasons and classes
)

// checker collects the first thing wrong with a report.
type checker struct{ err error }

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrBadReport, fmt.Sprintf(format, args...))
	}
}

func (c *checker) count(what string, values ...int64) {
	for _, v := range values {
		if v < 0 || v > maxCount {
			c.fail("%s is %d; counts and times are 0 to 2^53", what, v)
		}
	}
}

func (c *checker) text(what, s string, limit int) {
	if len(s) > limit {
		c.fail("%s has %d bytes, at most %d are taken", what, len(s), limit)
		return
	}
	if !utf8.ValidString(s) {
		c.fail("%s is not UTF-8", what)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			c.fail("%s holds a control character", what)
			return
		}
	}
}

func (c *checker) credential(what string, id protocol.CredentialID) {
	c.text(what, id, maxWord)
	if _, _, ok := protocol.SplitCredential(id); !ok {
		c.fail("%s is no key ID and revision such as 1.2", what)
	}
}

func (c *checker) entries(what string, n, limit int) {
	if n > limit {
		c.fail("%d %s, at most %d are taken", n, what, limit)
	}
}

// validate returns an error that wraps ErrBadReport where a report breaks the contract. It looks at the report alone.
func validate(r *protocol.Report) error {
	var c checker
	if r.Version != protocol.Version {
		c.fail("version %d, only %d is taken; update the filter and the control plane together", r.Version, protocol.Version)
		return c.err
	}
	c.text("node", r.Node, maxName)
	c.count("seq", r.Seq)
	c.count("epoch", r.Epoch)
	c.count("generation", r.Generation)
	c.count("config", r.Config)
	c.count("bad_configs", r.BadConfigs)
	c.count("panics", r.Panics)
	c.entries("windows", len(r.Windows), maxWindows)
	c.entries("findings", len(r.Findings), maxFindings)
	c.entries("notes", len(r.Notes), maxNotes)
	c.entries("reserved credentials", len(r.Reserved), maxCredentials)
	if c.err != nil {
		return c.err
	}
	for i := range r.Windows {
		c.window(&r.Windows[i])
	}
	for i := range r.Findings {
		c.finding(&r.Findings[i])
	}
	for i := range r.Notes {
		c.note(&r.Notes[i])
	}
	for _, u := range r.Reserved {
		c.credential("a reserved credential", u.Credential)
		c.count("a reservation", u.Tokens, u.Requests)
	}
	return c.err
}

func (c *checker) window(w *protocol.WindowUsage) {
	if _, err := quota.ParseWindow(w.Window); err != nil {
		c.fail("window %.16q: %v", w.Window, err)
	}
	g := &w.Gate
	c.count("a gate's count", g.Requests, g.Succeeded, g.CallerFaults, g.Refused, g.Failed, g.Cut, g.Limited, g.Rescues,
		g.TimeMS, g.FirstRefusalMS, g.LastRefusalMS, g.LastServedMS)
	c.entries("credentials in a window", len(w.Credentials), maxCredentials)
	c.callers(w.Callers)
	if c.err != nil {
		return
	}
	for i := range w.Credentials {
		c.usage(&w.Credentials[i])
	}
}

func (c *checker) usage(u *protocol.CredentialUsage) {
	c.credential("a credential", u.Credential)
	c.count("requests", u.Requests)
	c.entries("classes of attempts", len(u.Attempts), maxClasses)
	c.entries("time buckets", len(u.TimeMS), len(protocol.TimeBuckets)+1)
	c.count("a time bucket", u.TimeMS...)
	c.entries("models of a credential", len(u.Models), maxModels)
	if c.err != nil {
		return
	}
	for class, n := range u.Attempts {
		c.text("a class of attempts", class, maxWord)
		c.count("attempts", n)
	}
	for i := range u.Models {
		m := &u.Models[i]
		c.text("a model", m.Model, maxName)
		c.count("tokens", m.Prompt, m.Completion, m.Cached, m.Total, m.Estimated)
	}
}

func (c *checker) finding(f *protocol.Finding) {
	c.credential("a finding's credential", f.Credential)
	c.text("a finding's organization", f.Org, maxName)
	c.text("a finding's model", f.Model, maxName)
	c.text("a finding's kind", string(f.Kind), maxWord)
	c.text("a finding's code", f.Code, maxWord)
	c.count("a finding's age", f.AgeMS)
	if f.RemainingMS > maxCount || f.RemainingMS < -maxCount {
		c.fail("a finding's remaining time is %d", f.RemainingMS)
	}
}

func (c *checker) note(n *protocol.Note) {
	c.count("a note's number", n.Seq, n.AgeMS, n.Ordinal, n.Tokens)
	c.text("a note's kind", string(n.Kind), maxWord)
	c.text("a note's window", n.Window, maxWord)
	c.text("a note's reason", n.Reason, maxWord)
	c.text("a note's credential", n.From, maxWord)
	c.text("a note's credential", n.To, maxWord)
}
