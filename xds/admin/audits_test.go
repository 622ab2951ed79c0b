package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"keywheel/xds/admin"
	"keywheel/xds/audit"
)

func TestAudits(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/audit", readToken, "", 200), `[]`)
	f.account.audits = []audit.Entry{
		{ID: 9007199254740993, At: afternoon, Who: audit.Page, From: "::1", What: "change key", Key: "2", Fields: []string{"label", "secret"}, Outcome: audit.Done},
		{ID: 2, At: afternoon, Who: audit.File, What: "settings", Outcome: audit.Refused, Detail: "see the log"},
	}
	wantJSON(t, f.call(t, "GET", "/api/v1/audit", readToken, "", 200), `[
		{"id": "9007199254740993", "at": "2025-11-18T13:00:00.123Z", "who": "page", "from": "::1", "what": "change key", "key": "2",
		 "fields": ["label", "secret"], "outcome": "done", "detail": null},
		{"id": "2", "at": "2025-11-18T13:00:00.123Z", "who": "file", "from": null, "what": "settings", "key": null,
		 "fields": [], "outcome": "refused", "detail": "see the log"}]`)
}

func TestAuditsAreLimited(t *testing.T) {
	f := newFixture(t)
	for i := range 1500 {
		f.account.audits = append(f.account.audits, audit.Entry{ID: int64(1500 - i), Outcome: audit.Done})
	}
	for query, want := range map[string]int{"": 100, "?limit=1": 1, "?limit=1000": 1000} {
		var got []admin.Audit
		if err := json.Unmarshal(f.call(t, "GET", "/api/v1/audit"+query, readToken, "", 200), &got); err != nil || len(got) != want || got[0].ID != "1500" {
			t.Errorf("%q: got %d, want %d", query, len(got), want)
		}
	}
	for _, limit := range []string{"0", "1001", "-1", "all", "1.5", "9223372036854775808"} {
		if body := f.call(t, "GET", fmt.Sprint("/api/v1/audit?limit=", limit), readToken, "", 422); !bytes.Contains(body, []byte("query.limit")) {
			t.Errorf("%s: got %s", limit, body)
		}
	}
}
