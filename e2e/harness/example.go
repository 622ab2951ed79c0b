package harness

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"keywheel/e2e/fakegroq"
)

// Paths and addresses that stand in every file for an Envoy of the user's own. The user fills them in too.
const (
	CABundle     = "/etc/ssl/certs/ca-certificates.crt"
	wasmFile     = "/var/lib/keywheel/keywheel.wasm"
	groqAddr     = fakegroq.GroqHost + ":443"
	controlPlane = "127.0.0.1:18000"
)

// FileOptions say how a configuration of a user's own is started.
type FileOptions struct {
	Listen, Admin string            // where its Envoy listens, host:port
	Keys          []Key             // those without a secret get one; nil: Keys(3, 0)
	KeysFile      string            // settings to be Keywheel's .env, a path from the root; its empty secrets are filled in from Keys
	Groq          fakegroq.Options  // its Keys are made from the ones above; it is always served over TLS
	Settings      map[string]string // further environment of Keywheel
	Concurrency   int               // of Envoy; 0: 2
}

// StartFile runs `keywheel serve`, as a user does beside an Envoy of their own, and an Envoy that reads the file as it
// stands, but for the addresses, the authorities and the module's path. It returns once Envoy has its keys.
func StartFile(t testing.TB, f *File, opts FileOptions) *Stack {
	t.Helper()
	EnvoyBinary(t) // skips before anything is built
	s := &Stack{Keys: withSecrets(opts.Keys)}
	if opts.Groq.TLS == nil {
		opts.Groq.TLS = &fakegroq.TLS{}
	}
	s.Groq = StartGroq(t, opts.Groq, s.Keys)
	kw := KeywheelOptions{Keys: s.Keys, Settings: map[string]string{"KEYWHEEL_XDS_ADDR": FreeAddr(t)}}
	if opts.KeysFile != "" {
		kw.Keys = nil
	}
	for name, value := range opts.Settings {
		kw.Settings[name] = value
	}
	s.Keywheel = NewKeywheel(t, kw)
	s.Keywheel.Listen, s.Keywheel.EnvoyAdmin = opts.Listen, opts.Admin
	if opts.KeysFile != "" {
		s.Keywheel.fillIn(t, opts.KeysFile, s.Keys)
	}
	s.H1, s.H2 = NewClient(t, opts.Listen, false), NewClient(t, opts.Listen, true)
	ca := s.trust(t, nil)
	f.Point(t, groqAddr, s.Groq.Addr())
	f.Point(t, controlPlane, kw.Settings["KEYWHEEL_XDS_ADDR"])
	f.Replace(t, wasmFile, s.Keywheel.Product.Wasm)
	f.Text = strings.ReplaceAll(f.Text, CABundle, ca) // a foreign file has the test's authority already
	s.Keywheel.Start(t, "serve")
	s.Envoy = NewEnvoyFile(t, f, opts.Admin)
	if opts.Concurrency > 0 {
		s.Envoy.Concurrency = opts.Concurrency
	}
	s.Envoy.Start(t)
	s.Envoy.WaitAssigned(t)
	s.Keywheel.WaitGranted(t, 0)
	return s
}

// fillIn writes a file of settings where Keywheel looks for its .env, with the keys' secrets where they are left out.
func (k *Keywheel) fillIn(t testing.TB, name string, keys []Key) {
	t.Helper()
	settings := ReadFile(t, name).Text
	for _, key := range keys {
		place := regexp.MustCompile(`(?m)^GROQ_API_KEY_` + regexp.QuoteMeta(key.ID) + `=$`)
		if !place.MatchString(settings) {
			t.Fatalf("%s has no line for the secret of key %s", name, key.ID)
		}
		settings = place.ReplaceAllString(settings, "GROQ_API_KEY_"+key.ID+"="+key.Secret)
	}
	if err := os.WriteFile(filepath.Join(k.Dir, ".env"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
}
