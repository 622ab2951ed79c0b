package admin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"keywheel/xds/admin"
	"keywheel/xds/config"
)

// TestOnlyLimitsAreNull tries null for every member that the document has.
func TestOnlyLimitsAreNull(t *testing.T) {
	f := newAccount(t)
	tried := 0
	for _, o := range f.doc.operations() {
		if !strings.HasPrefix(o.path, "/api/v1/keys") {
			continue
		}
		for _, m := range o.members {
			tried++
			body := `{"secret": "` + added + fmt.Sprint(tried) + `", "` + m + `": null}`
			want := map[bool]int{true: 202, false: 422}[strings.HasPrefix(m, "limit_")]
			if w := f.do(o.method, o.at("2"), adminToken, body); w.Code != want {
				t.Errorf("%v, %s: got %d, want %d", o, m, w.Code, want)
			}
		}
	}
	if tried < 20 {
		t.Errorf("the document has %d members", tried)
	}
}

// TestLimitInJSON is what clients send: left out, null or a number.
func TestLimitInJSON(t *testing.T) {
	for want, fields := range map[string]admin.KeyFields{
		`{}`: {}, `{"limit_tokens":null}`: {LimitTokens: admin.NewLimit(0)}, `{"limit_requests":5}`: {LimitRequests: admin.NewLimit(5)},
		`{"limit_tokens":9007199254740992}`: {LimitTokens: admin.NewLimit(config.MaxCount)},
	} {
		b, err := json.Marshal(fields)
		if err != nil || string(b) != want {
			t.Errorf("got %s, %v, want %s", b, err, want)
		}
		if fields.Empty() != (want == `{}`) {
			t.Errorf("%s: empty: %v", want, fields.Empty())
		}
		var back admin.KeyFields
		if err := json.Unmarshal(b, &back); err != nil || back != fields {
			t.Errorf("%s: read back as %+v, %v", want, back, err)
		}
	}
}
