package admin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"keywheel/xds/ledger"
)

func TestVoidProxy(t *testing.T) {
	f := newFixture(t)
	const path = "/api/v1/proxies/019a9564-7c00-7000-8000-000000000001"
	if w := f.do("DELETE", path, adminToken, ""); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := fmt.Sprint(f.account.voided); got != "[admin 019a9564-7c00-7000-8000-000000000001]" {
		t.Errorf("voided %s", got)
	}
	f.account.err = fmt.Errorf("%w: x", ledger.ErrNoIncarnation)
	f.call(t, "DELETE", path, adminToken, "", 404)
	f.account.err = errors.New("disk full at /secret/path")
	if body := f.call(t, "DELETE", path, adminToken, "", 503); strings.Contains(string(body), "/secret/path") {
		t.Errorf("%s", body)
	}
	f.account.err = nil
	f.call(t, "DELETE", path+strings.Repeat("0", 100), adminToken, "", 422)
	if len(f.account.voided) != 1 {
		t.Error("what was refused was done")
	}
}
