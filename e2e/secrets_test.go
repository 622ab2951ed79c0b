package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// envoyPages are all of what Envoy's admin interface tells of configuration and traffic.
var envoyPages = []string{
	"/config_dump?include_eds", "/stats", "/stats/prometheus", "/clusters?format=json", "/listeners?format=json", "/server_info", "/init_dump",
	"/certs", "/memory",
}

// productPages are what Keywheel tells.
var productPages = []string{"/api/v1/keys", "/api/v1/pool", "/api/v1/proxies", "/api/openapi.json", "/healthz", "/readyz"}

// traffic makes calls of every outcome, with the keys asked in turn.
func traffic(t *testing.T, s *harness.Stack) (answers []harness.Blob) {
	t.Helper()
	for _, c := range s.Clients() {
		for _, f := range []fakegroq.Fault{
			"", fakegroq.RateTPM, fakegroq.InvalidKey, fakegroq.OrgRestricted, fakegroq.Internal, fakegroq.ResetAfterBody, fakegroq.BadRequest,
		} {
			for _, stream := range []bool{false, true} {
				a := c.Do(t, harness.Call{Stream: stream, Script: fakegroq.Rule{Fault: f, Only: "1"}})
				answers = append(answers, harness.Blob{Name: "an answer to the client", Data: headerText(a.Header) + string(a.Body)})
			}
			s.Recover(t)
		}
	}
	a := s.H1.Do(t, harness.Call{Path: "/openai/v1/files"})
	return append(answers, harness.Blob{Name: "a refusal", Data: headerText(a.Header) + string(a.Body)})
}

func headerText(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b) // a strings.Builder takes everything
	return b.String()
}

// No key stands in anything that Envoy or Keywheel shows, logs or writes, with both of them talking as much as they can.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{LogLevel: "trace", Settings: map[string]string{"KEYWHEEL_LOG_LEVEL": "debug"}})
	blobs := traffic(t, s)
	for _, page := range envoyPages {
		blobs = append(blobs, harness.Blob{Name: "Envoy's " + page, Data: s.Envoy.AdminGet(t, page)})
	}
	if dump := s.Envoy.AdminGet(t, "/config_dump"); !strings.Contains(dump, "keywheel.attempt") || !strings.Contains(dump, "[redacted]") {
		t.Error("config_dump does not show the filter's configuration: nothing is proven by it")
	}
	for _, page := range productPages {
		blobs = append(blobs, harness.Blob{Name: "Keywheel's " + page, Data: s.Keywheel.Page(t, page)})
	}
	status, _, _ := s.Keywheel.Output(t, "status")
	blobs = append(blobs,
		harness.Blob{Name: "keywheel status", Data: status},
		harness.Blob{Name: "Envoy's log", Data: s.Envoy.Log()},
		harness.Blob{Name: "Keywheel's log", Data: s.Keywheel.Log()},
	)
	secrets := s.Secrets()[1:] // the client's own header Envoy itself logs at trace, before any filter sees it
	harness.AssertNoSecret(t, secrets, append(blobs, files(t, s.Keywheel.Dir)...)...)
	token := s.Keywheel.Token(t)
	for _, b := range blobs {
		if found := harness.Leaks(token, b.Data); len(found) > 0 {
			t.Errorf("%s holds the admin token, %v", b.Name, found)
		}
	}
}

// files is everything that Keywheel wrote.
func files(t *testing.T, dir string) []harness.Blob {
	t.Helper()
	var blobs []harness.Blob
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if len(content) > 0 {
			blobs = append(blobs, harness.Blob{Name: "the file " + entry.Name(), Data: string(content)})
		}
		return err
	})
	if err != nil || len(blobs) == 0 {
		t.Fatalf("read %d files: %v", len(blobs), err)
	}
	return blobs
}

// The Envoy that `keywheel run` starts has no key in its environment, its arguments or its files, though Keywheel itself
// got them by its own environment.
func TestEnvoysEnvironmentHoldsNoSecret(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Run: true})
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Fatalf("%s", a)
	}
	own := harness.Environ(t, s.Keywheel.Pid())
	if len(harness.Leaks(s.Keys[0].Secret, own)) == 0 {
		t.Fatal("Keywheel's own environment does not hold key 1: the test proves nothing")
	}
	pid := s.Keywheel.EnvoyPid(t)
	harness.AssertNoSecret(t, append(s.Secrets(), s.Keywheel.Token(t)),
		harness.Blob{Name: "Envoy's environment", Data: harness.Environ(t, pid)},
		harness.Blob{Name: "Envoy's command line", Data: harness.CommandLine(t, pid)},
	)
	harness.AssertNoSecret(t, s.Secrets(), files(t, s.Keywheel.Dir)...)
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "what keywheel run wrote", Data: s.Keywheel.Log()})
	if strings.Contains(harness.Environ(t, pid), "GROQ_") {
		t.Error("Envoy's environment holds settings of Keywheel's")
	}
}
