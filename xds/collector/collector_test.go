package collector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/collector"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

const (
	incarnation = "019a9564-7c00-7000-8000-000000000001"
	good        = `{"v":1,"node":"n","incarnation":"` + incarnation + `","seq":1,"epoch":0,"generation":0,"windows":[{"window":"2025-11-18",` +
		`"gate":{"requests":1,"succeeded":1},"credentials":[{"credential":"1.1","requests":1,"attempts":{"ok":1},"models":[{"model":"m","total":123}]}]}],` +
		`"findings":[],"notes":[],"reserved":[],"from_the_future":{"x":[1.5,null]}}`
)

// desk is a collector before a ledger, over a store that can fail.
type desk struct {
	t      testing.TB
	memory *storetest.Memory
	store  *storetest.Faulty
	ledger *ledger.Ledger
	*collector.Handler
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{t: t, memory: storetest.NewMemory()}
	d.store = &storetest.Faulty{Store: d.memory}
	l, err := ledger.Open(context.Background(), ledger.Options{
		Store: d.store, Policy: protocol.Policy{Strategy: "priority", ReportIntervalMS: 1000},
		Keys: []ledger.KeyConfig{{ID: "1", Org: "o", LimitTokens: 14400}},
		Now:  func() time.Time { return time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.ledger = l
	peer := func(*http.Request) ledger.Peer { return ledger.Peer{ConnID: 1, Local: true} }
	d.Handler = collector.New(l, peer, slog.New(slog.DiscardHandler))
	return d
}

func (d *desk) post(token, body string) (int, string) {
	d.t.Helper()
	r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// A filter says how often it met a bug; an older one says nothing of it, which is as good as never.
func TestReportOfBugs(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		said         string
		code         int
		shown, total int64
	}{{"", 200, 0, 0}, {`,"panics":3`, 200, 3, 3}, {"", 200, 3, 3}, {`,"panics":-1`, 400, 3, 3}, {`,"panics":"many"`, 400, 3, 3}, {`,"panics":4`, 200, 4, 4}} {
		code, body := d.post("Bearer "+d.ledger.ReportToken(), strings.Replace(good, `,"windows"`, c.said+`,"windows"`, 1))
		if got := d.ledger.View().Proxies[0].Panics; code != c.code || got != c.shown || d.ledger.Stats().Panics != c.total {
			t.Errorf("%q: %d, shown are %d bugs, counted %d: %s", c.said, code, got, d.ledger.Stats().Panics, body)
		}
	}
}

func TestReportIsAnswered(t *testing.T) {
	d := newDesk(t)
	for range 2 {
		code, body := d.post("Bearer "+d.ledger.ReportToken(), good)
		var a protocol.Answer
		if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		if a.Incarnation != incarnation || len(a.Allowances) != 2 || a.Allowances[0].Tokens < 14000 || a.Findings == nil {
			t.Errorf("answer %+v", a)
		}
		if strings.Contains(body, d.ledger.ReportToken()) {
			t.Error("the answer holds the token")
		}
	}
	if used := d.ledger.View().Keys[0].Used; used != 123 {
		t.Errorf("used %d", used)
	}
	if s := d.Stats(); s != (collector.Stats{Accepted: 2}) {
		t.Errorf("stats %+v", s)
	}
}

func TestWhoMayNotReport(t *testing.T) {
	d := newDesk(t)
	before := d.memory.Records()
	token := d.ledger.ReportToken()
	bodies := map[string]bool{}
	wrong := []string{"", "Bearer ", "Bearer x", "bearer " + token, token, "Bearer " + token + " ", "Bearer " + strings.Repeat("a", len(token)), "Bearer " + strings.Repeat("a", 100_000)}
	for _, header := range wrong {
		for _, body := range []string{good, "", "{", strings.Repeat("x", 2*collector.MaxBody)} {
			code, answer := d.post(header, body)
			bodies[answer] = true
			if code != http.StatusUnauthorized {
				t.Errorf("%.20q: %d", header, code)
			}
		}
	}
	if len(bodies) != 1 {
		t.Errorf("refusals differ: %v", bodies)
	}
	if diff := cmp.Diff(before, d.memory.Records()); diff != "" {
		t.Errorf("the store changed:\n%s", diff)
	}
	if s := d.Stats(); s.Unauthorized != int64(4*len(wrong)) {
		t.Errorf("stats %+v", s)
	}
}

func TestRefusedBodies(t *testing.T) {
	replace := func(old, by string) string { return strings.Replace(good, old, by, 1) }
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"empty":            {"", 400},
		"null":             {"null", 400},
		"an array":         {"[]", 400},
		"cut":              {good[:len(good)-1], 400},
		"something after":  {good + "{}", 400},
		"a float":          {replace(`"total":123`, `"total":1.5`), 400},
		"an exponent":      {replace(`"total":123`, `"total":1e3`), 400},
		"not a number":     {replace(`"total":123`, `"total":NaN`), 400},
		"a string":         {replace(`"total":123`, `"total":"123"`), 400},
		"beyond 64 bits":   {replace(`"total":123`, `"total":99999999999999999999`), 400},
		"beyond 2^53":      {replace(`"total":123`, `"total":9007199254740993`), 400},
		"negative":         {replace(`"total":123`, `"total":-1`), 400},
		"another version":  {replace(`"v":1`, `"v":2`), 400},
		"no version":       {replace(`"v":1`, `"w":1`), 400},
		"an old window":    {replace(`2025-11-18`, `2025-11-11`), 410},
		"too large":        {good + strings.Repeat(" ", collector.MaxBody), 413},
		"many windows":     {`{"v":1,"windows":[` + strings.Repeat("{},", 300_000) + `{}]}`, 400},
		"many numbers":     {`{"v":1,"windows":[{"credentials":[{"time_ms":[` + strings.Repeat("0,", 500_000) + `0]}]}]}`, 400},
		"deep":             {strings.Repeat(`{"windows":`, 60_000), 400},
		"deep in unknowns": {`{"v":1,"x":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			before := d.memory.Records()
			var m0, m1 runtime.MemStats
			runtime.ReadMemStats(&m0)
			code, body := d.post("Bearer "+d.ledger.ReportToken(), c.body)
			runtime.ReadMemStats(&m1)
			if code != c.code || !strings.HasPrefix(body, `{"error":"`) {
				t.Errorf("%d %s", code, body)
			}
			if spent := m1.TotalAlloc - m0.TotalAlloc; spent > 4*collector.MaxBody {
				t.Errorf("took %d bytes of memory", spent)
			}
			if diff := cmp.Diff(before, d.memory.Records()); diff != "" {
				t.Errorf("the store changed:\n%s", diff)
			}
		})
	}
}

func TestStoreThatFails(t *testing.T) {
	d := newDesk(t)
	d.store.Before = func([]store.Record) error { return errors.New("disk full at /secret/path") }
	r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, strings.NewReader(good))
	r.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	d.store.Before = nil
	if code, _ := d.post("Bearer "+d.ledger.ReportToken(), good); code != 200 {
		t.Errorf("afterwards %d", code)
	}
	if s := d.Stats(); s.Unavailable != 1 || s.Accepted != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestOtherMethods(t *testing.T) {
	d := newDesk(t)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(method, protocol.ReportPath, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

// A body that ends early is not taken for a report.
func TestBodyThatBreaksOff(t *testing.T) {
	d := newDesk(t)
	r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, io.MultiReader(strings.NewReader(good), brokenReader{}))
	r.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || d.ledger.View().Keys[0].Used != 0 {
		t.Errorf("%d", w.Code)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Whatever is posted: an answer of the agreed kinds, and what is refused leaves the account as it was.
func FuzzReport(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"v":1,"incarnation":"` + incarnation + `","windows":[{"window":"2025-11-17"},{"window":"2025-11-19"}],"notes":[{"seq":3,"kind":"rotated","window":"2025-11-18","from":"1.1","to":"1.1"},{"seq":4,"kind":"out","window":"2025-11-18"}]}`))
	f.Add([]byte(`{"v":1,"incarnation":"` + incarnation + `","epoch":9007199254740992,"findings":[{"credential":"1.1","kind":"invalid","remaining_ms":1}],"reserved":[{"credential":"1.1","tokens":5}]}`))
	f.Add([]byte(`{"v":1,"windows":[{"credentials":[{"credential":"..1","time_ms":[-1]}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := newDesk(t)
		before := d.memory.Records()
		code, answer := d.post("Bearer "+d.ledger.ReportToken(), string(body))
		switch code {
		case 200:
			var a protocol.Answer
			if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Version != protocol.Version {
				t.Fatalf("answer %s", answer)
			}
		case 400, 410, 413:
			if diff := cmp.Diff(before, d.memory.Records()); diff != "" {
				t.Fatalf("refused with %d, but the store changed:\n%s", code, diff)
			}
		default:
			t.Fatalf("%d %s", code, answer)
		}
		for _, k := range d.ledger.View().Keys {
			if k.Used < 0 || k.Requests < 0 || k.Remaining < 0 || k.Remaining > 14400 {
				t.Fatalf("key %+v", k)
			}
		}
		if _, err := ledger.Open(context.Background(), ledger.Options{Store: d.memory}); err != nil {
			t.Fatalf("cannot be opened again: %v", err)
		}
		if bytes.Contains([]byte(answer), []byte(d.ledger.ReportToken())) {
			t.Fatal("the token is told")
		}
	})
}
