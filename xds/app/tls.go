package app

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/mtls"
	"keywheel/xds/server"
)

// peers is how Envoys and the control plane at addr know each other; nil: they need not, or nobody asked for it.
func peers(o Options, addr config.Address) *mtls.Keeper {
	t := o.Config.TLS
	if t == nil {
		return nil
	}
	if addr.Unix != "" {
		if o.Config.XDSAddr.IsZero() { // else Load said so
			o.Log.Warn("KEYWHEEL_TLS_CERT: it has no effect on the Unix socket beside the store, which only this user reaches; " +
				"for Envoys on other machines set KEYWHEEL_XDS_ADDR too")
		}
		return nil
	}
	o.Log.Info("xDS and reports by mutual TLS", "addr", addr.String(), "certificate_for", strings.Join(t.Identity.Names(), ", "),
		"expires", t.Identity.Expires().UTC().Format(time.RFC3339))
	return mtls.NewKeeper(t.Identity)
}

// secured is c with TLS, if there is any.
func (p *plane) secured(c server.Config) server.Config {
	if p.peers != nil {
		c.TLS, c.Now = p.peers.Server(), time.Now
	}
	return c
}

// guarded says in the banner how xDS is served.
func (p *plane) guarded() string {
	if p.peers == nil {
		return ""
	}
	return " by mutual TLS"
}

// certificateExpires is when the control plane's certificate ends, as the metrics ask; zero: there is none.
func (p *plane) certificateExpires() time.Time {
	if p.peers == nil {
		return time.Time{}
	}
	return p.peers.Identity().Expires()
}

// renew puts the certificates of settings in force for new connections.
func (p *plane) renew(o Options, c *config.Config) {
	if p.peers == nil || c.TLS == nil || c.TLS.Identity.Digest() == p.peers.Identity().Digest() {
		return
	}
	p.peers.Set(c.TLS.Identity)
	o.Log.Info("The certificates were renewed; new connections go by them", "certificate_for", strings.Join(c.TLS.Identity.Names(), ", "),
		"expires", c.TLS.Identity.Expires().UTC().Format(time.RFC3339))
}

// remindEvery is how often it is said again that a certificate is to be renewed.
const remindEvery = 24 * time.Hour

// remind says what is wrong with the certificates in force, again and again until ctx ends. Load said it first.
func (p *plane) remind(ctx context.Context, o Options) {
	if p.peers == nil {
		return
	}
	ticker := time.NewTicker(remindEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, w := range config.CertificateWarnings(p.peers.Identity(), time.Now()) {
				o.Log.Warn(w.String())
			}
		}
	}
}

// controlPlane is where Envoy reaches the control plane that listens at xds, and how the two know each other; nil: they
// need not.
func controlPlane(o Options, xds config.Address) (string, *envoy.ClientTLS, error) {
	address := xds.String()
	if xds.Unix == "" {
		address = xds.Dial()
	}
	if o.ControlPlane != "" {
		address = o.ControlPlane
	}
	t := o.Config.TLS
	if t == nil || strings.HasPrefix(address, "unix:") {
		return address, nil, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, config.Problem{Name: "--control-plane", Wrong: "it is not host:port", Fix: "write such as keywheel.example.org:18000"}
	}
	if o.ControlPlane == "" {
		if host, err = expected(t.Identity, host); err != nil {
			return "", nil, err
		}
	}
	return address, &envoy.ClientTLS{CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, Name: host}, nil
}

// expected is the name by which Envoy knows the control plane: the address if the certificate is for it, else the first
// name that it is for.
func expected(id *mtls.Identity, address string) (string, error) {
	names := id.Names()
	if slices.Contains(names, address) {
		return address, nil
	}
	for _, name := range names {
		if !strings.Contains(name, "*") {
			return name, nil
		}
	}
	return "", config.Problem{
		Name: "KEYWHEEL_TLS_CERT", Wrong: "it is for no host by which Envoy could know the control plane",
		Fix: "make one with a subjectAltName, such as DNS:keywheel.example.org",
	}
}

// canConnect says what keeps the Envoy of `keywheel run` from showing the control plane's own certificate.
func canConnect(c *config.Config, xds config.Address) error {
	if c.TLS == nil || xds.Unix != "" || c.TLS.Identity.CanConnect() {
		return nil
	}
	return config.Problem{
		Name: "KEYWHEEL_TLS_CERT", Wrong: fmt.Sprintf("it is for servers only, and the Envoy that is started here has to show it at %s too", xds),
		Fix: "make one for serverAuth and clientAuth, or run keywheel serve and an Envoy with a certificate of its own",
	}
}
