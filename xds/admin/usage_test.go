package admin_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
	"keywheel/xds/ledger"
	"keywheel/xds/summary"
)

// books are an account with what was taken in the days up to afternoon's.
type books struct{ *account }

// Series is kept of two days.
func (books) Series(w quota.Window) (map[string]ledger.Series, bool) {
	switch w.String() {
	case "2025-11-18":
		return map[string]ledger.Series{"1": {Tokens: []int64{0, 5, 0, 7}, Requests: []int64{0, 1, 2}}, "10": {Tokens: []int64{9}, Requests: []int64{1}}, "2": {}}, true
	case "2025-11-17":
		return map[string]ledger.Series{"2": {Tokens: append(make([]int64, 287), 3), Requests: append(make([]int64, 287), 1)}}, true
	case "2025-11-19":
		return nil, true
	}
	return nil, false
}

func (books) Hours(w quota.Window) map[string]ledger.Series {
	switch w.String() {
	case "2025-11-18":
		return map[string]ledger.Series{"1": {Tokens: []int64{12}, Requests: []int64{3}}, "10": {Tokens: []int64{9}, Requests: []int64{1}}}
	case "2025-11-16":
		return map[string]ledger.Series{"2": {Tokens: append(make([]int64, 23), 4), Requests: append(make([]int64, 23), 1)}, "gone": {Tokens: []int64{1}}}
	}
	return nil
}

func (books) Callers(w quota.Window) []ledger.CallerUse {
	switch w.String() {
	case "2025-11-18":
		return []ledger.CallerUse{{Caller: "team-b", Total: 30, Requests: 3}, {Caller: "2", Total: 20, Requests: 2}, {Caller: "other", Requests: 1}}
	case "2025-11-17":
		return []ledger.CallerUse{{Caller: "team-b", Total: 7, Requests: 1}, {Caller: "=1+1", Total: 1, Requests: 1}}
	}
	return nil
}

// newBooks is an API over them.
func newBooks(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.options.Ledger = books{f.account}
	f.handler = admin.New(f.options)
	f.account.summaries = map[string]summary.Summary{
		"2025-11-18": {
			Keys:   []summary.Key{{ID: "1", Label: "Primary", Tokens: 12, Requests: 3}, {ID: "2", Tokens: 0, Requests: 0}, {ID: "10", Tokens: 9, Requests: 1}},
			Models: []summary.Model{{Name: "openai/gpt-oss-120b", Total: 20}, {Name: "1", Total: 1}, {Name: "idle"}},
		},
		"2025-11-17": {Keys: []summary.Key{{ID: "2", Requests: 4}}, Models: []summary.Model{{Name: "openai/gpt-oss-120b", Total: 5}}},
	}
	return f
}

// point is a point of the answer as JSON; requests is a number or null.
func point(at, tokens, requests string) string {
	return `{"at": "` + at + `", "tokens": ` + tokens + `, "requests": ` + requests + `}`
}

func TestUsage(t *testing.T) {
	f := newBooks(t)
	for query, want := range map[string]string{
		"": `{"from": "2025-11-18", "to": "2025-11-18", "by": "key", "step": "1h", "series": [
			{"name": "1", "label": "Primary", "points": [` + point("2025-11-18T00:00:00Z", "12", "3") + `]},
			{"name": "10", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "9", "1") + `]}]}`,
		"step=5m": `{"from": "2025-11-18", "to": "2025-11-18", "by": "key", "step": "5m", "series": [
			{"name": "1", "label": "Primary", "points": [` + point("2025-11-18T00:05:00Z", "5", "1") + `, ` + point("2025-11-18T00:10:00Z", "0", "2") + `,
				` + point("2025-11-18T00:15:00Z", "7", "0") + `]},
			{"name": "10", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "9", "1") + `]}]}`,
		"from=2025-11-17&to=2025-11-19&step=5m": `{"from": "2025-11-17", "to": "2025-11-19", "by": "key", "step": "5m", "series": [
			{"name": "1", "label": "Primary", "points": [` + point("2025-11-18T00:05:00Z", "5", "1") + `, ` + point("2025-11-18T00:10:00Z", "0", "2") + `,
				` + point("2025-11-18T00:15:00Z", "7", "0") + `]},
			{"name": "2", "label": "<Backup>", "points": [` + point("2025-11-17T23:55:00Z", "3", "1") + `]},
			{"name": "10", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "9", "1") + `]}]}`,
		"from=2025-11-16": `{"from": "2025-11-16", "to": "2025-11-16", "by": "key", "step": "1h", "series": [
			{"name": "2", "label": "<Backup>", "points": [` + point("2025-11-16T23:00:00Z", "4", "1") + `]},
			{"name": "gone", "label": null, "points": [` + point("2025-11-16T00:00:00Z", "1", "0") + `]}]}`,
		"from=2025-11-17&to=2025-11-18&step=1d": `{"from": "2025-11-17", "to": "2025-11-18", "by": "key", "step": "1d", "series": [
			{"name": "1", "label": "Primary", "points": [` + point("2025-11-18T00:00:00Z", "12", "3") + `]},
			{"name": "2", "label": "<Backup>", "points": [` + point("2025-11-17T00:00:00Z", "0", "4") + `]},
			{"name": "10", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "9", "1") + `]}]}`,
		"from=2025-11-17&to=2025-11-18&by=model&step=1d": `{"from": "2025-11-17", "to": "2025-11-18", "by": "model", "step": "1d", "series": [
			{"name": "1", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "1", "null") + `]},
			{"name": "openai/gpt-oss-120b", "label": null, "points": [` + point("2025-11-17T00:00:00Z", "5", "null") + `, ` + point("2025-11-18T00:00:00Z", "20", "null") + `]}]}`,
		"from=2025-11-17&to=2025-11-18&by=caller&step=1d": `{"from": "2025-11-17", "to": "2025-11-18", "by": "caller", "step": "1d", "series": [
			{"name": "2", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "20", "2") + `]},
			{"name": "=1+1", "label": null, "points": [` + point("2025-11-17T00:00:00Z", "1", "1") + `]},
			{"name": "other", "label": null, "points": [` + point("2025-11-18T00:00:00Z", "0", "1") + `]},
			{"name": "team-b", "label": null, "points": [` + point("2025-11-17T00:00:00Z", "7", "1") + `, ` + point("2025-11-18T00:00:00Z", "30", "3") + `]}]}`,
		"from=2020-02-29&step=1d": `{"from": "2020-02-29", "to": "2020-02-29", "by": "key", "step": "1d", "series": []}`,
	} {
		t.Run(query, func(t *testing.T) { wantJSON(t, f.call(t, "GET", "/api/v1/usage?"+query, readToken, "", 200), want) })
	}
}

func TestUsageOfAYear(t *testing.T) {
	f := newBooks(t)
	for _, path := range []string{"/api/v1/usage", "/api/v1/usage.csv"} {
		if w := f.do("GET", path+"?from=2024-11-18&to=2025-11-18&step=1d", readToken, ""); w.Code != 200 {
			t.Errorf("%s: a year: got %d", path, w.Code)
		}
	}
}

// TestRefusedUsage has queries that cannot be answered, for both answers.
func TestRefusedUsage(t *testing.T) {
	f := newBooks(t)
	for query, says := range map[string]string{
		"from=2025-11-16&step=5m":               "Steps of 5 minutes are kept of today and yesterday only: ask for step=1h.",
		"by=model":                              "Models and callers are counted by day: ask for step=1d.",
		"by=caller&step=5m":                     "Models and callers are counted by day: ask for step=1d.",
		"from=2025-11-18&to=2025-11-17":         "to must be from or later, and at most a year after it.",
		"to=2025-11-17":                         "to must be from or later",
		"from=2024-11-17&to=2025-11-18&step=1d": "at most a year after it",
		"from=0001-01-01&to=9999-12-31&step=1d": "at most a year after it",
		"from=yesterday":                        "query.from",
		"from=2025-02-30":                       "query.from",
		"from=2025-11-18T00:00:00Z":             "query.from",
		"to=2025-13-01":                         "query.to",
		"by=org":                                "query.by",
		"step=1m":                               "query.step",
		"from=" + url.QueryEscape("2025-11-18' OR 1=1--"): "query.from",
	} {
		for _, path := range []string{"/api/v1/usage", "/api/v1/usage.csv"} {
			body := f.call(t, "GET", path+"?"+query, readToken, "", 422)
			if !bytes.Contains(body, []byte(says)) || bytes.Contains(body, []byte("OR 1=1")) {
				t.Errorf("%s?%s: got %s", path, query, body)
			}
		}
	}
}

// table does a request for a table and reads it.
func (f *fixture) table(t *testing.T, query string) (rows [][]string, name string) {
	t.Helper()
	w := f.do("GET", "/api/v1/usage.csv?"+query, readToken, "")
	if kind := w.Header().Get("Content-Type"); w.Code != 200 || kind != "text/csv; charset=utf-8" {
		t.Fatalf("got %d as %s: %s", w.Code, kind, w.Body)
	}
	if described := f.doc.at("paths", "/api/v1/usage.csv", "get", "responses", "200", "content", "text/csv", "schema"); described["type"] != "string" {
		t.Errorf("the document says %v", described)
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows, w.Header().Get("Content-Disposition")
}

func TestUsageAsTable(t *testing.T) {
	f := newBooks(t)
	for query, want := range map[string][][]string{
		"from=2025-11-16": {
			{"at", "key", "label", "tokens", "requests"}, {"2025-11-16T23:00:00Z", "2", "<Backup>", "4", "1"}, {"2025-11-16T00:00:00Z", "gone", "", "1", "0"},
		},
		"from=2025-11-17&to=2025-11-18&by=model&step=1d": {
			{"at", "model", "label", "tokens", "requests"}, {"2025-11-18T00:00:00Z", "1", "", "1", ""},
			{"2025-11-17T00:00:00Z", "openai/gpt-oss-120b", "", "5", ""}, {"2025-11-18T00:00:00Z", "openai/gpt-oss-120b", "", "20", ""},
		},
		"from=2025-11-17&by=caller&step=1d": {
			{"at", "caller", "label", "tokens", "requests"}, {"2025-11-17T00:00:00Z", "'=1+1", "", "1", "1"}, {"2025-11-17T00:00:00Z", "team-b", "", "7", "1"},
		},
		"from=2020-02-29": {{"at", "key", "label", "tokens", "requests"}},
	} {
		rows, _ := f.table(t, query)
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("%s: -want +got:\n%s", query, diff)
		}
	}
	if _, name := f.table(t, "from=2025-11-17&to=2025-11-18&by=caller&step=1d"); name != `attachment; filename="keywheel-2025-11-17-2025-11-18-caller.csv"` {
		t.Errorf("saved as %s", name)
	}
}

// TestTableAgreesWithTheAnswer has both say the same, whatever is asked for.
func TestTableAgreesWithTheAnswer(t *testing.T) {
	f := newBooks(t)
	for _, query := range []string{"", "step=5m", "step=1d", "from=2025-11-16", "by=model&step=1d", "by=caller&step=1d&from=2025-11-17&to=2025-11-19"} {
		var u admin.Usage
		if err := json.Unmarshal(f.call(t, "GET", "/api/v1/usage?"+query, readToken, "", 200), &u); err != nil {
			t.Fatal(err)
		}
		points := 0
		for _, s := range u.Series {
			points += len(s.Points)
		}
		if rows, _ := f.table(t, query); len(rows) != points+1 {
			t.Errorf("%s: %d rows, %d points", query, len(rows), points)
		}
	}
}

// TestTableHoldsNoFormulas has labels and callers that a spreadsheet would take for a formula, or that need quoting.
func TestTableHoldsNoFormulas(t *testing.T) {
	f := newBooks(t)
	for label, want := range map[string]string{
		`=HYPERLINK("http://evil","x")`: `'=HYPERLINK("http://evil","x")`, "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1",
		"a=b": "a=b", "a,\"b\"\nc": "a,\"b\"\nc", "Ü": "Ü", "": "", "'": "'",
	} {
		f.account.view.Keys[0].Label = label
		rows, _ := f.table(t, "")
		if got := rows[1][2]; got != want {
			t.Errorf("%q became %q", label, got)
		}
	}
}
