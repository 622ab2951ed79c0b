package ledger

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"time"
)

// previousToken is how long the token before the present one is good.
const previousToken = time.Hour

// reportToken is what reports are admitted by.
type reportToken struct {
	Current   string `json:"current"`
	Previous  string `json:"previous,omitempty"`
	RotatedMS int64  `json:"rotated_ms"` // Unix milliseconds of the host's clock
}

func (r *reportToken) place() (string, string) { return metaBucket, tokenKey }
func (r *reportToken) kept() any               { return r }

// newToken makes another token. It holds once it is committed.
func (t *tx) newToken() {
	r := change(t, t.l.tokens)
	r.Previous, r.Current, r.RotatedMS = r.Current, rand.Text()+rand.Text(), t.mono.UnixMilli()
	t.after = append(t.after, func() {
		published := *r
		t.l.token.Store(&published)
		t.pushed = true
	})
}

// ReportToken is what filters show with their reports. It travels beside the assignment.
func (l *Ledger) ReportToken() string { return l.token.Load().Current }

// CheckToken says whether a report with this token is to be admitted. It takes no lock, and as long for any token of
// the right length.
func (l *Ledger) CheckToken(token string) bool {
	r := l.token.Load()
	good := subtle.ConstantTimeCompare([]byte(token), []byte(r.Current))
	previous := subtle.ConstantTimeCompare([]byte(token), []byte(r.Previous))
	if age := l.mono().UnixMilli() - r.RotatedMS; r.Previous == "" || age > previousToken.Milliseconds() {
		previous = 0
	}
	return good|previous == 1
}

// RotateToken makes another report token. The present one stays good for an hour.
func (l *Ledger) RotateToken(ctx context.Context) error {
	return l.do(ctx, func(t *tx) error {
		t.newToken()
		return nil
	})
}
