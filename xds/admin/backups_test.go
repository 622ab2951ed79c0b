package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/roster"
)

// vault gives what it was given last.
type vault struct {
	content []byte
	by      []audit.Entry
	closed  int
	err     error
}

func (v *vault) Open(_ context.Context, by audit.Entry) (io.ReadCloser, int64, error) {
	if v.err != nil {
		return nil, 0, v.err
	}
	v.by = append(v.by, by)
	return &closing{bytes.NewReader(v.content), &v.closed}, int64(len(v.content)), nil
}

func (v *vault) Take(_ context.Context, r io.Reader, by audit.Entry) (int64, string, error) {
	content, err := io.ReadAll(r)
	switch {
	case err != nil:
		return 0, "", err
	case v.err != nil:
		return 0, "", v.err
	case !bytes.HasPrefix(content, []byte("backup")):
		return 0, "", fmt.Errorf("%w: it is none", backup.ErrBad)
	}
	v.by, v.content = append(v.by, by), content
	return 7, "/var/lib/keywheel.db.replaced", nil
}

type closing struct {
	*bytes.Reader
	closed *int
}

func (c *closing) Close() error { *c.closed++; return nil }

// restore posts a body as a backup.
func (f *fixture) restore(token, kind string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/restore", body)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

const octets = "application/octet-stream"

func TestBackupAndRestore(t *testing.T) {
	f := newFixture(t)
	large := "backup" + strings.Repeat("x", 1<<20) // more than any other body may have
	w := f.restore(adminToken, octets, strings.NewReader(large))
	if w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	wantJSON(t, w.Body.Bytes(), `{"generation":7,"kept":"/var/lib/keywheel.db.replaced"}`)
	f.doc.check(t, "POST", "/api/v1/restore", w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	w = f.do("GET", "/api/v1/backup", adminToken, "")
	if w.Code != 200 || w.Body.String() != large || w.Header().Get("Content-Type") != octets || w.Header().Get("Content-Length") != fmt.Sprint(len(large)) ||
		!strings.Contains(w.Header().Get("Content-Disposition"), `filename="keywheel-2`) || f.vault.closed != 1 {
		t.Errorf("%d %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
	if len(f.vault.by) != 2 || f.vault.by[0].Who != audit.Admin || f.vault.by[1].From == "" {
		t.Errorf("who did it: %+v", f.vault.by)
	}
	if w := f.do("HEAD", "/api/v1/backup", adminToken, ""); w.Code != 200 || len(f.vault.by) != 2 {
		t.Errorf("for the headers alone a backup was made: %d", w.Code)
	}
}

func TestRefusedRestores(t *testing.T) {
	f := newFixture(t)
	type refusal struct {
		kind string
		body io.Reader
		err  error
		code int
		says string
	}
	for name, c := range map[string]refusal{
		"not a backup":   {octets, strings.NewReader("text"), nil, 422, "This backup cannot be restored: it is none."},
		"nothing":        {octets, nil, nil, 422, "cannot be restored"},
		"JSON":           {"application/json", strings.NewReader("backup"), nil, 415, octets},
		"a form":         {"text/plain", strings.NewReader("backup"), nil, 415, octets},
		"sealed":         {octets, strings.NewReader("backup"), fmt.Errorf("%w: KEYWHEEL_MASTER_KEY", roster.ErrSealed), 409, "KEYWHEEL_MASTER_KEY"},
		"no key left":    {octets, strings.NewReader("backup"), fmt.Errorf("%w: none", roster.ErrInvalid), 422, "The key cannot be so"},
		"another runs":   {octets, strings.NewReader("backup"), backup.ErrBusy, 409, "try again"},
		"too large":      {octets, strings.NewReader("backup"), backup.ErrTooLarge, 413, "1 GiB"},
		"broken off":     {octets, io.MultiReader(strings.NewReader("backup"), brokenOff{}), nil, 400, "ended early"},
		"the store's":    {octets, strings.NewReader("backup"), errors.New("no space left on /secret/path"), 503, "nothing was changed"},
		"a cut transfer": {octets, strings.NewReader("backup"), &http.MaxBytesError{Limit: 1}, 413, "1 GiB"},
	} {
		f.vault.err = c.err
		w := f.restore(adminToken, c.kind, c.body)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "/secret/path") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	f.vault.err = errors.New("no space left on /secret/path")
	if w := f.do("GET", "/api/v1/backup", adminToken, ""); w.Code != 503 || strings.Contains(w.Body.String(), "/secret/path") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(f.vault.by) != 0 {
		t.Error("something was taken")
	}
}

type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNoVault(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) { o.Vault = nil })
	if w := f.do("GET", "/api/v1/backup", adminToken, ""); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
	if w := f.restore(adminToken, octets, strings.NewReader("backup")); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}
