package cli

import (
	"net/netip"
	"testing"

	"keywheel/xds/config"
)

func TestWhereXDSIsServed(t *testing.T) {
	tcp, socket := config.Address{Host: netip.MustParseAddr("0.0.0.0"), Port: 18000}, config.Address{Unix: "/run/x.sock"}
	for want, c := range map[string]config.Config{
		"a socket beside the store (run), 127.0.0.1:18000 (serve)":               {},
		"a socket beside the store (run), 127.0.0.1:18000 by mutual TLS (serve)": {TLS: &config.TLS{}},
		"0.0.0.0:18000":               {XDSAddr: tcp},
		"0.0.0.0:18000 by mutual TLS": {XDSAddr: tcp, TLS: &config.TLS{}},
		"unix:/run/x.sock":            {XDSAddr: socket, TLS: &config.TLS{}},
	} {
		if got := xdsPlace(&c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
