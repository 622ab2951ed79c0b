package fakegroq

import "time"

// bucket is an organization's token limit, guarded by Server.mu.
type bucket struct {
	limit  int64         // 0: none
	refill time.Duration // 0: a plain total per UTC day
	used   float64       // tokens; refills continuously unless refill is 0
	at     time.Time     // when used was right
}

// admit takes what a request needs out of its organization's limit, or says which limit stands against it.
// With a continuous bucket the rule's wait becomes the true one, by Groq's own formula.
func (x *exchange) admit(t Tokens) Fault {
	s := x.s
	now := s.opts.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := x.acct.bucket
	if b == nil || b.limit == 0 {
		return ""
	}
	need := float64(t.Total())
	if b.refill == 0 {
		day := now.UTC().Truncate(24 * time.Hour)
		if b.at.Before(day) {
			b.used = 0
		}
		b.at = now
		if b.used >= float64(b.limit) {
			x.rule.Wait = Duration(day.Add(24 * time.Hour).Sub(now))
			return RateTPD
		}
		b.used += need
		return ""
	}
	perToken := float64(b.refill) / float64(b.limit)
	b.used = max(0, b.used-float64(now.Sub(b.at))/perToken)
	b.at = now
	if over := b.used + need - float64(b.limit); over > 0 {
		x.rule.Wait = Duration(over * perToken)
		if b.refill <= time.Hour {
			return RateTPM
		}
		return RateTPD
	}
	b.used += need
	return ""
}
