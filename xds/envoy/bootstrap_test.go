package envoy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"keywheel"
	"keywheel/e2e/testca"
	"keywheel/shared/protocol"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/envoy/envoytest"
)

func parse(t *testing.T) *bootstrapv3.Bootstrap {
	t.Helper()
	b, err := envoy.Parse(keywheel.EnvoyYAML)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNoSettingsChangeNothing(t *testing.T) {
	got := parse(t)
	if err := envoy.Adapt(got, envoy.Settings{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t), got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsOfTheFileItselfChangeNothing(t *testing.T) {
	got := parse(t)
	err := envoy.Adapt(got, envoy.Settings{
		NodeID: "keywheel", ListenAddr: "127.0.0.1:10000", AdminAddr: "127.0.0.1:9901", ControlPlane: "127.0.0.1:18000",
		WasmPath: "/var/lib/keywheel/keywheel.wasm", CABundle: "/etc/ssl/certs/ca-certificates.crt",
		Upstream: config.Upstream{Host: "api.groq.com", Port: 443, TLS: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t), got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func clientTLS(name string) *envoy.ClientTLS {
	return &envoy.ClientTLS{CertFile: "testdata/cert.pem", KeyFile: "testdata/key.pem", CAFile: "testdata/ca.pem", Name: name}
}

// forms are the shapes of configuration that Adapt makes, with what must and must not stand in each.
var forms = map[string]struct {
	settings envoy.Settings
	with     []string
	without  []string
}{
	"plain upstream": {
		envoy.Settings{Upstream: config.Upstream{Host: "127.0.0.1", Port: 8081}},
		[]string{`"hostRewriteLiteral": "127.0.0.1:8081"`, `"httpProtocolOptions": {}`},
		[]string{"api.groq.com\"", "UpstreamTlsContext", "autoConfig"},
	},
	"plain upstream on IPv6": {
		envoy.Settings{Upstream: config.Upstream{Host: "::1", Port: 80}},
		[]string{`"hostRewriteLiteral": "[::1]"`, `"address": "::1"`},
		[]string{"UpstreamTlsContext"},
	},
	"another name with TLS": {
		envoy.Settings{Upstream: config.Upstream{Host: "groq.example", Port: 8443, TLS: true}, CABundle: "testdata/ca.pem"},
		[]string{`"hostRewriteLiteral": "groq.example:8443"`, `"sni": "groq.example"`, `"autoSniSanValidation": true`, `"filename": "testdata/ca.pem"`, `"portValue": 8443`},
		[]string{`"address": "api.groq.com"`, "/etc/ssl"},
	},
	"an address with TLS": {
		envoy.Settings{Upstream: config.Upstream{Host: "127.0.0.1", Port: 443, TLS: true}, CABundle: "testdata/ca.pem"},
		[]string{`"hostRewriteLiteral": "127.0.0.1"`, `"sanType": "IP_ADDRESS"`, `"exact": "127.0.0.1"`},
		[]string{`"sni"`, "autoSniSanValidation"},
	},
	"mutual TLS by name": {
		envoy.Settings{ControlPlane: "keywheel.example.org:18000", TLS: clientTLS("keywheel.example.org")},
		[]string{`"address": "keywheel.example.org"`, `"sni": "keywheel.example.org"`, `"filename": "testdata/key.pem"`, `"alpnProtocols"`, `"connectTimeout": "5s"`},
		[]string{`"type": "STATIC"`, `"sanType"`},
	},
	"mutual TLS by address": {
		envoy.Settings{ControlPlane: "192.0.2.7:18000", TLS: clientTLS("192.0.2.7")},
		[]string{`"address": "192.0.2.7"`, `"sanType": "IP_ADDRESS"`, `"exact": "192.0.2.7"`, `"type": "STATIC"`},
		[]string{`"sni": "192.0.2.7"`},
	},
	"mutual TLS where there is a socket": {
		envoy.Settings{ControlPlane: "unix:/run/keywheel/xds.sock", TLS: clientTLS("keywheel.example.org")},
		[]string{`"path": "/run/keywheel/xds.sock"`, `"connectTimeout": "1s"`},
		[]string{"keywheel.example.org", "alpnProtocols"},
	},
	"unix socket": {
		envoy.Settings{ControlPlane: "unix:/run/keywheel/xds.sock", ListenAddr: "[::1]:8000", AdminAddr: "127.0.0.2:9000", NodeID: "n7"},
		[]string{`"path": "/run/keywheel/xds.sock"`, `"address": "::1"`, `"portValue": 8000`, `"address": "127.0.0.2"`, `"id": "n7"`},
		[]string{`"portValue": 18000`, `"portValue": 10000`, `"portValue": 9901`},
	},
}

func TestForms(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			text, err := envoy.Configure(keywheel.EnvoyYAML, form.settings)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range form.with {
				if !bytes.Contains(text, []byte(s)) {
					t.Errorf("%s is missing", s)
				}
			}
			for _, s := range form.without {
				if bytes.Contains(text, []byte(s)) {
					t.Errorf("%s is still there", s)
				}
			}
			again, err := envoy.Configure(keywheel.EnvoyYAML, form.settings)
			if err != nil || !bytes.Equal(text, again) {
				t.Errorf("the second time it is another: %v", err)
			}
		})
	}
}

func TestBothRolesGetTheModule(t *testing.T) {
	text, err := envoy.Configure(keywheel.EnvoyYAML, envoy.Settings{WasmPath: "/x/keywheel-1.wasm"})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(`"filename": "/x/keywheel-1.wasm"`)); n != 2 {
		t.Errorf("%d times", n)
	}
}

func TestEnvoyAcceptsEachForm(t *testing.T) {
	binary := envoytest.Binary(t)
	module := envoytest.IdleModule(t)
	bundle, err := envoy.FindCABundle(os.Getenv, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			form.settings.WasmPath = module
			form.settings.CABundle = bundle
			if form.settings.TLS != nil {
				form.settings.TLS = filesOf(t, *form.settings.TLS)
			}
			text, err := envoy.Configure(keywheel.EnvoyYAML, form.settings)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "envoy.json")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(binary, "--mode", "validate", "-c", path).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			} else if strings.Contains(string(out), "warning") {
				t.Errorf("a warning:\n%s", out)
			}
		})
	}
}

// filesOf makes the files for a test.
func filesOf(t *testing.T, set envoy.ClientTLS) *envoy.ClientTLS {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(testca.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(path *string, content []byte) {
		*path = filepath.Join(t.TempDir(), filepath.Base(*path))
		if err := os.WriteFile(*path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(&set.CertFile, pair.Certificate)
	write(&set.KeyFile, pair.Key)
	write(&set.CAFile, ca.PEM)
	return &set
}

func TestErrorsNameThePart(t *testing.T) {
	cluster := func(b *bootstrapv3.Bootstrap, name string) *clusterv3.Cluster {
		for _, c := range b.GetStaticResources().GetClusters() {
			if c.GetName() == name {
				return c
			}
		}
		t.Fatalf("no cluster %s", name)
		return nil
	}
	set := envoy.Settings{
		WasmPath: "/x.wasm", ControlPlane: "127.0.0.1:1", CABundle: "/ca.pem",
		Upstream: config.Upstream{Host: "api.groq.com", Port: 443, TLS: true},
	}
	for want, spoil := range map[string]func(*bootstrapv3.Bootstrap){
		"no listener named keywheel": func(b *bootstrapv3.Bootstrap) { b.StaticResources.Listeners[0].Name = "other" },
		"listener keywheel has no HTTP connection manager": func(b *bootstrapv3.Bootstrap) {
			b.StaticResources.Listeners[0].FilterChains = nil
		},
		"no cluster named groq":                   func(b *bootstrapv3.Bootstrap) { cluster(b, "groq").Name = "openai" },
		"no cluster named keywheel_control_plane": func(b *bootstrapv3.Bootstrap) { cluster(b, protocol.ControlPlaneCluster).Name = "xds" },
		"cluster groq must have exactly one endpoint": func(b *bootstrapv3.Bootstrap) {
			cluster(b, "groq").LoadAssignment.Endpoints = nil
		},
		"cluster groq has no TLS":     func(b *bootstrapv3.Bootstrap) { cluster(b, "groq").TransportSocket = nil },
		"with the attempt's filter":   func(b *bootstrapv3.Bootstrap) { cluster(b, "groq").TypedExtensionProtocolOptions = nil },
		"admin address: \"x\" is not": func(*bootstrapv3.Bootstrap) {},
	} {
		t.Run(want, func(t *testing.T) {
			b, s := parse(t), set
			spoil(b)
			if strings.HasPrefix(want, "admin") {
				s.AdminAddr = "x"
			}
			if err := envoy.Adapt(b, s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
	for text, want := range map[string]string{
		"node: {idd: x}": "unknown field", "a: [": "not YAML",
		"static_resources: {}": "no listener named keywheel",
		strings.Replace(string(keywheel.EnvoyYAML), "- name: keywheel.gate", "- name: gate", 1):       "no HTTP filter named keywheel.gate",
		strings.Replace(string(keywheel.EnvoyYAML), "- name: keywheel.attempt", "- name: attempt", 1): "no HTTP filter named keywheel.attempt",
		strings.Replace(string(keywheel.EnvoyYAML), "cluster: groq", "cluster: other", 1):             "no route to the cluster groq",
	} {
		if _, err := envoy.Configure([]byte(text), set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestWriteWasm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	module := []byte("\x00asm first")
	path, err := envoy.WriteWasm(dir, module)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := envoy.WriteWasm(dir, module); err != nil || again != path {
		t.Errorf("%s, then %s: %v", path, again, err)
	}
	if other, err := envoy.WriteWasm(dir, []byte("\x00asm second")); err != nil || other == path {
		t.Errorf("another module at %s: %v", other, err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := envoy.WriteWasm(dir, module); err != nil {
		t.Fatal(err)
	}
	there, err := os.ReadFile(path)
	info, errInfo := os.Stat(path)
	if err != nil || errInfo != nil || !bytes.Equal(there, module) || info.Mode().Perm() != 0o644 || !filepath.IsAbs(path) {
		t.Errorf("%s %v %q: %v %v", path, info.Mode(), there, err, errInfo)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := envoy.WriteWasm(dir, nil); err == nil || !strings.Contains(err.Error(), "KEYWHEEL_WASM") {
		t.Errorf("no module: %v", err)
	}
}

func TestFindCABundle(t *testing.T) {
	only := func(paths ...string) func(string) bool {
		return func(p string) bool {
			for _, path := range paths {
				if p == path {
					return true
				}
			}
			return false
		}
	}
	env := func(value string) func(string) string {
		return func(name string) string {
			if name == "SSL_CERT_FILE" {
				return value
			}
			return ""
		}
	}
	for _, c := range []struct {
		env      string
		readable []string
		want     string
		wrong    string
	}{
		{"", []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"}, "/etc/ssl/certs/ca-certificates.crt", ""},
		{"", []string{"/etc/pki/tls/certs/ca-bundle.crt"}, "/etc/pki/tls/certs/ca-bundle.crt", ""},
		{"", []string{"/etc/ssl/cert.pem"}, "/etc/ssl/cert.pem", ""},
		{"/my/ca.pem", []string{"/my/ca.pem", "/etc/ssl/cert.pem"}, "/my/ca.pem", ""},
		{"/my/ca.pem", []string{"/etc/ssl/cert.pem"}, "", "SSL_CERT_FILE: /my/ca.pem cannot be read"},
		{"", nil, "", "looked for /etc/ssl/certs/ca-certificates.crt, /etc/pki"},
	} {
		got, err := envoy.FindCABundle(env(c.env), only(c.readable...))
		if got != c.want || (c.wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}
