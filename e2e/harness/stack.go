package harness

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/testca"
)

// Options say what a stack is made of. The zero value is three keys without limits, over plain HTTP, and an Envoy beside
// `keywheel serve`.
type Options struct {
	Keys  []Key            // those without a secret get one; nil: Keys(3)
	Groq  fakegroq.Options // its Keys are made from the ones above
	Run   bool             // `keywheel run` starts Envoy itself; else the test does, beside `keywheel serve`
	Trust *testca.CA       // with TLS: whom Envoy trusts; nil: the one that signed

	Settings    map[string]string // further environment of Keywheel
	Args        []string          // after `keywheel run` or `serve`
	Upstream    string            // another address than the simulated Groq's own
	Bootstrap   func(Bootstrap)   // changes Envoy's configuration before it starts; not with Run
	Concurrency int               // of Envoy; 0: 2
	LogLevel    string            // of Envoy; empty: warning
	EnvoyEnv    map[string]string // further environment of Envoy; not with Run
	Unassigned  bool              // Start does not wait until Envoy has its keys; not with Run
}

// Stack is everything together.
type Stack struct {
	Groq     *fakegroq.Server
	Keywheel *Keywheel
	Envoy    *Envoy // nil with Options.Run
	Keys     []Key
	H1, H2   *Client
}

// Start runs a stack until the test ends, when no secret of its keys may stand in what clients were answered, in its logs or
// its store. It returns once Envoy has its keys and what it may spend of them.
func Start(t testing.TB, opts Options) *Stack {
	t.Helper()
	EnvoyBinary(t) // skips before anything is built
	s := &Stack{Keys: withSecrets(opts.Keys)}
	s.Groq = StartGroq(t, opts.Groq, s.Keys)
	kw := KeywheelOptions{Keys: s.Keys, Upstream: opts.Upstream, Args: opts.Args, Settings: map[string]string{}}
	for name, value := range opts.Settings {
		kw.Settings[name] = value
	}
	if opts.Concurrency > 0 {
		kw.Settings["KEYWHEEL_ENVOY_CONCURRENCY"] = strconv.Itoa(opts.Concurrency)
	}
	if kw.Upstream == "" && opts.Groq.TLS == nil {
		kw.Upstream = s.Groq.URL()
	}
	s.Keywheel = NewKeywheel(t, kw)
	s.H1, s.H2 = NewClient(t, s.Keywheel.Listen, false), NewClient(t, s.Keywheel.Listen, true)
	if opts.Run {
		s.Keywheel.Start(t, "run")
		s.watched(t)
		waitAssigned(t, s.Keywheel.Process, s.Keywheel.EnvoyAdmin, 2)
		s.Keywheel.WaitGranted(t, 0)
		return s
	}
	var trusted string
	if opts.Groq.TLS != nil {
		trusted = s.trust(t, opts.Trust)
	}
	s.Keywheel.Start(t, "serve")
	s.Envoy = s.newEnvoy(t, opts, trusted)
	s.Envoy.Start(t)
	s.watched(t)
	if !opts.Unassigned {
		s.Envoy.WaitAssigned(t)
		s.Keywheel.WaitGranted(t, 0)
	}
	return s
}

// trust writes the authority's certificate where Keywheel and Envoy find it.
func (s *Stack) trust(t testing.TB, ca *testca.CA) string {
	t.Helper()
	if ca == nil {
		ca = s.Groq.CA()
	}
	file := filepath.Join(s.Keywheel.Dir, "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Keywheel.Set("SSL_CERT_FILE", file)
	return file
}

// newEnvoy prepares an Envoy with the shipped configuration. With TLS it is changed in two places only: Groq's name
// leads to the simulated one, and the test's authority is trusted.
func (s *Stack) newEnvoy(t testing.TB, opts Options, trusted string) *Envoy {
	t.Helper()
	b := s.Keywheel.EnvoyConfig(t)
	if trusted != "" {
		b.PointCluster(t, "groq", s.Groq.Addr())
		b.TrustCA(t, trusted)
	}
	if opts.Bootstrap != nil {
		opts.Bootstrap(b)
	}
	e := NewEnvoy(t, b)
	if opts.Concurrency > 0 {
		e.Concurrency = opts.Concurrency
	}
	e.LogLevel, e.Env = opts.LogLevel, opts.EnvoyEnv
	return e
}

// StartGroq runs a simulated Groq that accepts these keys.
func StartGroq(t testing.TB, opts fakegroq.Options, keys []Key) *fakegroq.Server {
	t.Helper()
	for _, k := range keys {
		opts.Keys = append(opts.Keys, fakegroq.Key{Secret: k.Secret, Name: k.ID, Org: k.Org})
	}
	g, err := fakegroq.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close the simulated Groq: %v", err)
		}
	})
	return g
}

// Clients are both clients by name.
func (s *Stack) Clients() map[string]*Client { return map[string]*Client{"h1": s.H1, "h2": s.H2} }

// Secrets are the keys' secrets, and the client's own.
func (s *Stack) Secrets() []string {
	secrets := []string{ClientSecret}
	for _, k := range s.Keys {
		secrets = append(secrets, k.Secret)
	}
	return secrets
}

// Script adds rules for the key with this ID.
func (s *Stack) Script(t testing.TB, id string, rules ...fakegroq.Rule) {
	t.Helper()
	for _, k := range s.Keys {
		if k.ID == id {
			if err := s.Groq.Script(k.Secret, rules...); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no key %s", id)
}

// Recover takes all rules away and makes Keywheel forget what it learned of the keys.
func (s *Stack) Recover(t testing.TB) {
	t.Helper()
	for _, k := range s.Keys {
		s.Groq.ClearScript(k.Secret)
	}
	s.Groq.ClearScript(fakegroq.AnyKey)
	var newest int64
	for _, k := range s.Keys {
		newest = s.Keywheel.Clear(t, k.ID)
	}
	s.Keywheel.WaitGranted(t, newest)
}

// Keys makes n keys, "1" to n, each with this limit of tokens a day; 0: none.
func Keys(n int, limit int64) []Key {
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = Key{ID: strconv.Itoa(i + 1), LimitTokens: limit}
	}
	return withSecrets(keys)
}

// withSecrets gives each key that has none a secret of its own, in the shape of Groq's.
func withSecrets(keys []Key) []Key {
	if keys == nil {
		return Keys(3, 0)
	}
	out := append([]Key(nil), keys...)
	for i := range out {
		if out[i].Secret == "" {
			out[i].Secret = "gsk_CANARY" + out[i].ID + rand.Text() + rand.Text() // letters and digits only
		}
	}
	return out
}
