package istio

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"istio.io/istio/pilot/pkg/model"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// TestEgressGateway: the same in a gateway, which only the workloads that it is for can use.
func TestEgressGateway(t *testing.T) {
	in := install(t, nil)
	docs := documents(t, in.addresses, "keywheel.yaml", "groq.yaml", "egress-gateway.yaml")
	d := istiod(t, docs)
	proxy := workload(d, model.Router, "groq-egress", map[string]string{"istio": "groq-egress"})
	has := generated(t, d, proxy, map[string]string{"0.0.0.0_8443": in.app}, map[string]string{"outbound|80||api.groq.com": in.stack.Groq.Addr()})
	e := in.start(t, "groq-egress", has, docs)

	in.stack.H1 = in.overTLS(t, "chat")
	in.rotates(t)
	if a := in.overTLS(t, "somebody-else").Do(t, harness.Call{}); a.Status != http.StatusForbidden || a.Key != "" {
		t.Errorf("another workload may spend the keys: %s", a)
	}
	harness.AssertNoSecret(t, in.stack.Secrets(), harness.Blob{Name: "config_dump", Data: e.AdminGet(t, "/config_dump?include_eds")},
		harness.Blob{Name: "Envoy's log", Data: e.Log()})
}

// overTLS asks as the sidecar of a workload does, for Groq.
func (in *installed) overTLS(t *testing.T, namespace string) *harness.Client {
	t.Helper()
	config := in.agent.ca.client(t, namespace, namespace, fakegroq.GroqHost, "http/1.1")
	c := harness.NewClient(t, in.app, false)
	tr := c.HTTP().Transport.(*http.Transport)
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
	}
	c.HTTP().Transport = called{fakegroq.GroqHost, tr}
	return c
}

// TestApplicationsReachTheGateway: what the applications' sidecars do of it is to lead Groq's calls there, once each.
func TestApplicationsReachTheGateway(t *testing.T) {
	d := istiod(t, documents(t, nil, "keywheel.yaml", "groq.yaml", "egress-gateway.yaml"))
	proxy := workload(d, model.SidecarProxy, "chat", map[string]string{"app": "chat"})
	for _, r := range d.Routes(proxy) {
		for _, host := range r.VirtualHosts {
			if host.Name != "api.groq.com:80" {
				continue
			}
			if route := host.Routes[0].GetRoute(); len(host.Routes) != 1 || route.GetRetryPolicy() != nil ||
				route.GetCluster() != "outbound|8443||groq-egress.groq-egress.svc.cluster.local" {
				t.Errorf("they lead to %v", host.Routes)
			}
			return
		}
	}
	t.Error("they know no route to Groq")
}
