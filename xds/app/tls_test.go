package app

import (
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/testca"
	"keywheel/xds/config"
	"keywheel/xds/mtls"
)

// certified are settings with a certificate.
func certified(t *testing.T, leaf testca.Leaf) *config.Config {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	id, flaws := mtls.Load(pair.Certificate, pair.Key, ca.PEM)
	if flaws != nil {
		t.Fatal(flaws)
	}
	return &config.Config{TLS: &config.TLS{CertFile: "/cert.pem", KeyFile: "/key.pem", CAFile: "/ca.pem", Identity: id}}
}

func address(t *testing.T, text string) config.Address {
	t.Helper()
	c, _, err := config.Load(config.Options{Environ: []string{"KEYWHEEL_XDS_ADDR=" + text, "KEYWHEEL_XDS_INSECURE=true"}, KeysOptional: true, StateHome: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c.XDSAddr
}

func TestByWhatNameEnvoyKnowsTheControlPlane(t *testing.T) {
	for name, v := range map[string]struct {
		hosts   []string
		listen  string
		flag    string
		address string // that Envoy connects to
		name    string // that it expects; empty: no TLS
		wrong   string
	}{
		"the address":           {hosts: []string{"a.example", "192.0.2.7"}, listen: "192.0.2.7:18000", address: "192.0.2.7:18000", name: "192.0.2.7"},
		"a name":                {hosts: []string{"*.b.example", "a.example"}, listen: "192.0.2.7:18000", address: "192.0.2.7:18000", name: "a.example"},
		"another address":       {hosts: []string{"192.0.2.9"}, listen: "0.0.0.0:18000", address: "127.0.0.1:18000", name: "192.0.2.9"},
		"any name":              {hosts: []string{"*.b.example"}, listen: "0.0.0.0:18000", wrong: "KEYWHEEL_TLS_CERT: it is for no host"},
		"no name":               {listen: "127.0.0.1:18000", wrong: "subjectAltName"},
		"asked for":             {hosts: []string{"a.example"}, listen: "0.0.0.0:18000", flag: "b.example:443", address: "b.example:443", name: "b.example"},
		"asked for by address":  {hosts: []string{"a.example"}, listen: "0.0.0.0:18000", flag: "[2001:db8::1]:443", address: "[2001:db8::1]:443", name: "2001:db8::1"},
		"asked for wrongly":     {hosts: []string{"a.example"}, listen: "0.0.0.0:18000", flag: "b.example", wrong: "--control-plane: it is not host:port"},
		"a socket":              {hosts: []string{"a.example"}, listen: "unix:/run/x.sock", address: "unix:/run/x.sock"},
		"asked for by a socket": {hosts: []string{"a.example"}, listen: "0.0.0.0:18000", flag: "unix:/x.sock", address: "unix:/x.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Config: certified(t, testca.Leaf{Hosts: v.hosts}), ControlPlane: v.flag}
			got, client, err := controlPlane(o, address(t, v.listen))
			if v.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), v.wrong) {
					t.Errorf("%v, want %q", err, v.wrong)
				}
				return
			}
			if err != nil || got != v.address || (client == nil) != (v.name == "") || client != nil && client.Name != v.name {
				t.Errorf("%s by %+v: %v", got, client, err)
			}
		})
	}
	got, client, err := controlPlane(Options{Config: &config.Config{}}, address(t, "0.0.0.0:18000"))
	if got != "127.0.0.1:18000" || client != nil || err != nil {
		t.Errorf("without TLS: %s, %v, %v", got, client, err)
	}
}

func TestTheEnvoyOfRunNeedsACertificateForClients(t *testing.T) {
	servers := certified(t, testca.Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err := canConnect(servers, address(t, "127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), "KEYWHEEL_TLS_CERT: it is for servers only") {
		t.Error(err)
	}
	for _, err := range []error{
		canConnect(servers, address(t, "unix:/x.sock")), canConnect(certified(t, testca.Leaf{}), address(t, "127.0.0.1:1")),
		canConnect(&config.Config{}, address(t, "127.0.0.1:1")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWhereThereIsTLS(t *testing.T) {
	var log strings.Builder
	o := Options{Config: certified(t, testca.Leaf{Hosts: []string{"a.example"}}), Log: slog.New(slog.NewTextHandler(&log, nil))}
	said := func(want string) {
		t.Helper()
		if (want == "") != (log.Len() == 0) || !strings.Contains(log.String(), want) {
			t.Errorf("said %q, want %q", log.String(), want)
		}
		log.Reset()
	}
	if peers(o, address(t, "unix:/x.sock")) != nil {
		t.Error("TLS on a socket")
	}
	said("it has no effect on the Unix socket beside the store")
	p := &plane{peers: peers(o, address(t, "0.0.0.0:1"))}
	said("certificate_for=a.example expires=2120-01-01T00:00:00Z")
	if !p.certificateExpires().Equal(o.Config.TLS.Identity.Expires()) {
		t.Errorf("expires %v", p.certificateExpires())
	}

	p.renew(o, o.Config)
	p.renew(o, &config.Config{}) // TLS is gone from the settings: at the next start
	said("")
	next := certified(t, testca.Leaf{Hosts: []string{"b.example"}, Until: time.Date(2119, 1, 1, 0, 0, 0, 0, time.UTC)})
	p.renew(o, next)
	said("certificate_for=b.example expires=2119-01-01T00:00:00Z")
	if p.peers.Identity() != next.TLS.Identity {
		t.Error("the old one is in force")
	}

	o.Config = &config.Config{}
	none := &plane{peers: peers(o, address(t, "0.0.0.0:1"))}
	none.renew(o, next) // at the next start, too
	if none.peers != nil || !none.certificateExpires().IsZero() {
		t.Error("TLS from nothing")
	}
	said("")
}
