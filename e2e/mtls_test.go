package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/testca"
	"keywheel/shared/protocol"
)

// apart is examples/mtls: a control plane and an Envoy that have nothing in common but an authority. The example's files
// are as they stand but for addresses and paths.
type apart struct {
	*harness.Stack
	ca      *testca.CA
	xds     string // host:port
	dir     string // /etc/keywheel of the control plane
	example string
}

func startApart(t *testing.T) *apart {
	t.Helper()
	harness.EnvoyBinary(t)
	a := &apart{
		ca: newAuthority(t), xds: harness.FreeAddr(t), dir: t.TempDir(), example: filepath.Join(harness.Root(t), "examples", "mtls"),
		Stack: &harness.Stack{Keys: harness.Keys(3, 0)},
	}
	a.Groq = harness.StartGroq(t, fakegroq.Options{TLS: &fakegroq.TLS{}, TokensFor: fakegroq.UniqueTokens(1000)}, a.Keys)
	a.Keywheel = harness.NewKeywheel(t, harness.KeywheelOptions{Keys: a.Keys})
	// The example's settings stand in .env, which the environment wins over: what the harness says of the same is taken away.
	settings := a.file(t, "keywheel.env", map[string]string{
		"0.0.0.0:18000": strings.Replace(a.xds, "127.0.0.1", "0.0.0.0", 1), "/etc/keywheel": a.dir, "/var/lib/keywheel/keywheel.wasm": a.Keywheel.Product.Wasm,
	})
	for _, name := range []string{"KEYWHEEL_XDS_ADDR", "KEYWHEEL_WASM"} {
		a.Keywheel.Set(name, "")
	}
	write(t, filepath.Join(a.Keywheel.Dir, ".env"), settings)
	install(t, a.dir, a.ca, a.ca.PEM, x509.ExtKeyUsageServerAuth)
	a.Keywheel.Start(t, "serve")
	return a
}

// file is one of the example's, with other addresses and paths.
func (a *apart) file(t *testing.T, name string, changes map[string]string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(a.example, name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for from, to := range changes {
		if !strings.Contains(text, from) {
			t.Fatalf("%s does not say %s", name, from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return []byte(text)
}

// host prepares an Envoy of the example, with a directory of its own that has the certificates of an authority.
func (a *apart) host(t *testing.T, ca *testca.CA, trusted []byte) (e *harness.Envoy, client *harness.Client, dir string) {
	t.Helper()
	dir = t.TempDir()
	install(t, dir, ca, trusted, x509.ExtKeyUsageClientAuth)
	write(t, filepath.Join(dir, "envoy-certificate.yaml"), a.file(t, "envoy-certificate.yaml", map[string]string{"/etc/keywheel": dir}))
	write(t, filepath.Join(dir, "groq.pem"), a.Groq.CA().PEM)
	listen, admin := harness.FreeAddr(t), harness.FreeAddr(t)
	port := func(addr string) string { return "port_value: " + addr[strings.LastIndex(addr, ":")+1:] }
	text := a.file(t, "envoy.yaml", map[string]string{
		"port_value: 10000": port(listen), "port_value: 9901": port(admin), "keywheel.example.org, port_value: 18000": "localhost, " + port(a.xds),
		"/etc/keywheel": dir, "/var/lib/keywheel/keywheel.wasm": a.Keywheel.Product.Wasm, "/etc/ssl/certs/ca-certificates.crt": filepath.Join(dir, "groq.pem"),
		"address: api.groq.com, port_value: 443": "address: 127.0.0.1, " + port(a.Groq.Addr()),
	})
	bootstrap := harness.Bootstrap{}
	if err := yaml.Unmarshal(text, &bootstrap); err != nil {
		t.Fatal(err)
	}
	return harness.NewEnvoy(t, bootstrap), harness.NewClient(t, listen, true), dir
}

func newAuthority(t *testing.T) *testca.CA {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// install puts a new certificate of ca where a host has it, as the example says: by moving each file into its place.
func install(t *testing.T, dir string, ca *testca.CA, trusted []byte, usage ...x509.ExtKeyUsage) testca.Pair {
	t.Helper()
	pair, err := ca.Issue(testca.Leaf{Hosts: []string{"localhost"}, Usages: usage})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"ca.pem": trusted, "key.pem": pair.Key, "cert.pem": pair.Certificate} {
		write(t, filepath.Join(dir, name), content)
	}
	return pair
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	err := os.WriteFile(path+".new", content, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects to the control plane as a client that trusts an authority and shows a certificate; nil: none. It returns
// the certificate that the control plane shows.
func (a *apart) dial(t *testing.T, trusted []byte, show *testca.Pair) ([]byte, error) {
	t.Helper()
	config := a.client(t, trusted, show)
	dialer := tls.Dialer{Config: config}
	c, err := dialer.DialContext(harness.Context(t), "tcp", a.xds)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	state := c.(*tls.Conn).ConnectionState()
	return state.PeerCertificates[0].Raw, nil
}

func (a *apart) client(t *testing.T, trusted []byte, show *testca.Pair) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost", NextProtos: []string{"h2"}}
	config.RootCAs.AppendCertsFromPEM(trusted)
	if show != nil {
		c, err := tls.X509KeyPair(show.Certificate, show.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
	return config
}

// post sends what may be a usage report, by TLS or, with a nil config, without.
func (a *apart) post(t *testing.T, config *tls.Config) (status int, err error) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(config != nil)
	protocols.SetUnencryptedHTTP2(config == nil)
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(harness.Context(t), http.MethodPost, scheme+"://"+a.xds+protocol.ReportPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// rotates makes a call whose first key is limited: another serves it, and Groq's truth is the ledger's.
func (a *apart) rotates(t *testing.T, client *harness.Client) {
	t.Helper()
	if got := client.Do(t, harness.Call{}); got.Status != 200 || got.Key != "1" {
		t.Fatalf("a call: %s", got)
	}
	got := client.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1"}})
	if got.Status != 200 || got.Key != "2" || harness.KeysOf(a.Attempts(t, got.Tag)) != "1 2" {
		t.Fatalf("a call whose first key is limited: %s", got)
	}
	a.AssertOracle(t) // by reports alone
}

// The example as it is documented: keys and reports go by mutual TLS, and a call is rescued by another key.
func TestMTLSExample(t *testing.T) {
	t.Parallel()
	a := startApart(t)
	e, client, _ := a.host(t, a.ca, a.ca.PEM)
	e.Start(t)
	e.WaitAssigned(t)
	a.Keywheel.WaitGranted(t, 0)
	a.rotates(t, client)
	for name, n := range e.Stats(t, `^cluster\.keywheel_control_plane\.(ssl\.(handshake|connection_error|no_certificate)|upstream_cx_(http2_)?total)$`) {
		if fails := strings.HasSuffix(name, "error") || strings.HasSuffix(name, "no_certificate"); fails == (n > 0) {
			t.Errorf("%s is %d", name, n)
		}
	}
	a.Keywheel.WaitLog(t, "xDS and reports by mutual TLS")
}

// Whoever shows no certificate of the authority, or speaks no TLS, gets no keys and can report nothing. The control plane's
// log says why.
func TestMTLSStrangersGetNothing(t *testing.T) {
	t.Parallel()
	a := startApart(t)
	stranger := newAuthority(t)
	e, client, _ := a.host(t, a.ca, a.ca.PEM)
	e.Start(t)
	e.WaitAssigned(t)

	_, other, _ := a.refused(t, stranger, func(harness.Bootstrap) {})
	a.Keywheel.WaitLog(t, "the client's certificate is not good")
	_, bare, _ := a.refused(t, a.ca, func(b harness.Bootstrap) {
		socket := b.Cluster(t, protocol.ControlPlaneCluster)["transport_socket"].(map[string]any)["typed_config"].(map[string]any)
		delete(socket["common_tls_context"].(map[string]any), "tls_certificate_sds_secret_configs")
	})
	a.Keywheel.WaitLog(t, "the client shows no certificate")
	_, plain, _ := a.refused(t, a.ca, func(b harness.Bootstrap) { delete(b.Cluster(t, protocol.ControlPlaneCluster), "transport_socket") })
	a.Keywheel.WaitLog(t, "the client does not speak TLS")
	for name, c := range map[string]*harness.Client{"of another authority": other, "without a certificate": bare, "without TLS": plain} {
		if got := c.Do(t, harness.Call{}); got.Status != 503 || got.ErrorCode() != "no_assignment" {
			t.Errorf("an Envoy %s: %s", name, got)
		}
	}

	pair, err := stranger.Issue(testca.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"of another authority": a.client(t, a.ca.PEM, &pair), "without a certificate": a.client(t, a.ca.PEM, nil), "without TLS": nil,
	} {
		if status, err := a.post(t, config); err == nil {
			t.Errorf("a report %s is answered %d", name, status)
		}
	}
	pair, err = a.ca.Issue(testca.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := a.post(t, a.client(t, a.ca.PEM, &pair)); err != nil || status/100 != 4 {
		t.Errorf("a report with a certificate and without its token is answered %d, %v", status, err)
	}

	a.rotates(t, client) // the one that is known goes on
	if proxies := a.Keywheel.Proxies(t); len(proxies) != 1 {
		t.Errorf("the control plane knows %+v", proxies)
	}
	harness.AssertNoSecret(t, a.Secrets(), harness.Blob{Name: "the log", Data: a.Keywheel.Log()})
}

// refused starts an Envoy of the example that the control plane refuses again and again.
func (a *apart) refused(t *testing.T, ca *testca.CA, change func(harness.Bootstrap)) (*harness.Envoy, *harness.Client, string) {
	t.Helper()
	e, client, dir := a.host(t, ca, a.ca.PEM)
	change(e.Bootstrap)
	e.Start(t)
	harness.Eventually(t, "Envoy has tried", func() error {
		for _, n := range e.Stats(t, `^cluster\.keywheel_control_plane\.(upstream_cx_destroy|upstream_cx_connect_fail)$`) {
			if n > 1 {
				return nil
			}
		}
		return errors.New("no connection came to an end")
	})
	if stats := e.Stats(t, `config_reload$`); len(stats) == 0 || sum(stats) > 0 {
		t.Errorf("a stranger has got something: %v", stats)
	}
	return e, client, dir
}

func sum(stats map[string]int64) (total int64) {
	for _, n := range stats {
		total += n
	}
	return total
}

// Certificates are renewed on both sides while everything runs. Files that do not fit each other change nothing, and are
// told of once.
func TestMTLSRenewal(t *testing.T) {
	t.Parallel()
	a := startApart(t)
	next := newAuthority(t)
	e, client, dir := a.host(t, a.ca, slices.Concat(a.ca.PEM, next.PEM))
	e.Start(t)
	e.WaitAssigned(t)
	a.Keywheel.WaitGranted(t, 0)
	mine, err := a.ca.Issue(testca.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := a.dial(t, a.ca.PEM, &mine)
	if err != nil {
		t.Fatal(err)
	}

	write(t, filepath.Join(a.dir, "cert.pem"), []byte("not a certificate"))
	a.Keywheel.WaitLog(t, "KEYWHEEL_TLS_CERT: it holds no certificate")
	if shown, err := a.dial(t, a.ca.PEM, &mine); err != nil || !bytes.Equal(shown, old) {
		t.Errorf("the last good certificate is not shown: %v", err)
	}
	shown := func(ca *testca.CA) error {
		shown, err := a.dial(t, ca.PEM, &mine)
		if err == nil && bytes.Equal(shown, old) {
			err = errors.New("it shows the old one")
		}
		return err
	}
	install(t, a.dir, a.ca, a.ca.PEM, x509.ExtKeyUsageServerAuth)
	harness.Eventually(t, "the control plane shows its new certificate", func() error { return shown(a.ca) })
	a.Keywheel.WaitLog(t, "The certificates were renewed")
	if n := strings.Count(a.Keywheel.Log(), "KEYWHEEL_TLS_CERT: it holds no certificate"); n != 1 {
		t.Errorf("the broken file is told of %d times", n)
	}
	a.rotates(t, client) // over the connection that stands

	// Another authority: once the control plane goes by it alone, Envoy is shut out until its own files are of it too.
	if mine, err = next.Issue(testca.Leaf{}); err != nil {
		t.Fatal(err)
	}
	install(t, a.dir, next, next.PEM, x509.ExtKeyUsageServerAuth)
	harness.Eventually(t, "the control plane goes by the next authority", func() error { return shown(next) })
	a.Keywheel.Kill(t)
	a.Keywheel.Start(t, "serve")
	a.Keywheel.WaitLog(t, "A connection to the control plane was refused")
	install(t, dir, next, a.ca.PEM, x509.ExtKeyUsageClientAuth)
	a.Keywheel.WaitGranted(t, 0)
	if got := client.Do(t, harness.Call{}); got.Status != 200 {
		t.Errorf("after all: %s", got)
	}
	a.AssertOracle(t)
}

// `keywheel run` and `keywheel envoy-config` have Envoy speak TLS by the same settings; on a Unix socket there is none.
func TestMTLSOfSettings(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), t.TempDir()
	install(t, dir, ca, ca.PEM, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	settings := func(addr string) map[string]string {
		return map[string]string{
			"KEYWHEEL_TLS_CERT": filepath.Join(dir, "cert.pem"), "KEYWHEEL_TLS_KEY": filepath.Join(dir, "key.pem"), "KEYWHEEL_TLS_CA": filepath.Join(dir, "ca.pem"),
			"KEYWHEEL_XDS_ADDR": addr,
		}
	}
	for name, v := range map[string]struct {
		run  bool
		addr string
		said string
	}{
		"run": {true, harness.FreeAddr(t), "xDS and reports by mutual TLS"}, "envoy-config": {false, harness.FreeAddr(t), "xDS and reports by mutual TLS"},
		"run on its socket": {true, "", "it has no effect on the Unix socket beside the store"},
	} {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Run: v.run, Settings: settings(v.addr), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
			a := &apart{Stack: s, xds: v.addr}
			a.rotates(t, s.H2)
			s.Keywheel.WaitLog(t, v.said)
			if v.addr == "" {
				return
			}
			if _, err := a.post(t, nil); err == nil {
				t.Error("it is spoken in the clear too")
			}
		})
	}
}

// An address that other machines reach is refused without TLS, and the message names the settings.
func TestMTLSIsAskedFor(t *testing.T) {
	t.Parallel()
	k := harness.NewKeywheel(t, harness.KeywheelOptions{Keys: harness.Keys(1, 0), Settings: map[string]string{"KEYWHEEL_XDS_ADDR": "0.0.0.0:18000"}})
	_, stderr, exit := k.Output(t, "serve")
	if exit != 2 || !strings.Contains(stderr, "set KEYWHEEL_TLS_CERT, KEYWHEEL_TLS_KEY and KEYWHEEL_TLS_CA") {
		t.Errorf("exit code %d: %s", exit, stderr)
	}
}
