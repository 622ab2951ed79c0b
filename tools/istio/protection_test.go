package istio

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"keywheel/e2e/harness"
)

// TestWhoMayFetchTheKeys: only the workloads that are named get through Keywheel's sidecar to where the keys are.
func TestWhoMayFetchTheKeys(t *testing.T) {
	in := install(t, nil)
	get := func(config *tls.Config) (int, error) {
		scheme := "https://"
		if config == nil {
			scheme = "http://"
		}
		req, err := http.NewRequestWithContext(harness.Context(t), http.MethodGet, scheme+in.inbound+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{TLSClientConfig: config}
		defer tr.CloseIdleConnections()
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	ca := in.agent.ca
	if status, err := get(ca.client(t, "chat", "chat", "", "istio")); err != nil || status != http.StatusNotFound {
		t.Fatalf("the application's workload: %d, %v; want Keywheel's own 404", status, err)
	}
	stranger := ca.client(t, "chat", "chat", "", "istio")
	stranger.Certificates = nil
	for name, config := range map[string]*tls.Config{
		"another account of the namespace": ca.client(t, "chat", "default", "", "istio"),
		"another mesh's authority":         newMeshCA(t).client(t, "chat", "chat", "", "istio"),
		"no certificate":                   stranger,
		"no TLS":                           nil,
	} {
		if status, err := get(config); err == nil {
			t.Errorf("%s got through: %d", name, status)
		}
	}
}
