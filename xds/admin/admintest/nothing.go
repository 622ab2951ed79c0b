// Package admintest has what tests of the admin API and of its clients share.
package admintest

import (
	"context"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/summary"
)

// Nothing is a ledger of which nothing is known. A fake embeds it and has what its test is about.
type Nothing struct{}

var _ admin.Ledger = Nothing{}

// View implements admin.Ledger, as the other methods do.
func (Nothing) View() ledger.View { return ledger.View{} }

// Clear knows no key.
func (Nothing) Clear(context.Context, string, audit.Entry) (int64, error) { return 0, ledger.ErrNoKey }

// Newest returns none.
func (Nothing) Newest(int) []event.Event { return nil }

// Events returns none.
func (Nothing) Events(int64, int) []event.Event { return nil }

// Notifications returns none.
func (Nothing) Notifications(int, ...event.State) []event.Notification { return nil }

// Summary knows no day.
func (Nothing) Summary(quota.Window) (summary.Summary, bool) { return summary.Summary{}, false }

// Series knows no day.
func (Nothing) Series(quota.Window) (map[string]ledger.Series, bool) { return nil, true }

// Hours knows no day.
func (Nothing) Hours(quota.Window) map[string]ledger.Series { return nil }

// Callers knows none.
func (Nothing) Callers(quota.Window) []ledger.CallerUse { return nil }

// Audits returns none.
func (Nothing) Audits(int) []audit.Entry { return nil }

// Void knows no Envoy.
func (Nothing) Void(context.Context, string, audit.Entry) error { return ledger.ErrNoIncarnation }
