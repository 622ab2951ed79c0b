package admin_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/admin/admintest"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/roster"
)

// secretOf is the secret of a key of the settings.
func secretOf(id string) string { return "gsk_CANARYsetting" + id + "5vLq0Zb7dW1nRk8s" }

// newKeys are keys 1 to 3 of the settings.
func newKeys(t testing.TB, noMaster bool, failing func() error) *admintest.Keys {
	t.Helper()
	o := admintest.KeysOptions{Now: afternoon, NoMaster: noMaster, Failing: failing}
	for i, label := range []string{"Primary", "<Backup>", "Emergency"} {
		id := string(rune('1' + i))
		o.Configured = append(o.Configured, config.Key{
			ID: id, Label: label, Priority: i + 1, Org: config.OwnOrg(id), Tier: config.TierFree, LimitTokens: 14400, Thresholds: config.DefaultThresholds(),
			Source: []config.Source{config.SourceEnvironment, config.SourceFile, config.SourceEnvironment}[i], Secret: secret.New(secretOf(id)),
		})
	}
	return admintest.NewKeys(t, o)
}

// newAccount is a fixture whose ledger is the account that its keys are in, so that it shows what is changed.
func newAccount(t *testing.T, changes ...func(*admin.Options)) *fixture {
	t.Helper()
	f := newFixture(t, changes...)
	f.options.Ledger = f.keys.Ledger
	f.handler = admin.New(f.options)
	return f
}

// ids are the keys that there are, in rank order.
func (f *fixture) ids() []string {
	var ids []string
	for _, key := range f.keys.Keys() {
		ids = append(ids, key.ID)
	}
	return ids
}

// recorder is one that streams can be written to.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetWriteDeadline(time.Time) error { return nil }

// byTest is who changes keys without the API.
var byTest = audit.Entry{Who: audit.Admin}

func patchOf(value string) roster.Patch { return roster.Patch{Secret: secret.New(value)} }
