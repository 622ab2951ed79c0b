package istio

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"istio.io/istio/pilot/pkg/model"

	"keywheel/e2e/harness"
)

// neighbour is another service of the mesh, which the application calls on the same port as Groq.
const neighbour = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: neighbour, namespace: chat}
spec:
  hosts: [neighbour.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
`

// TestSidecar: with what istiod generates of the example, a 429 of one key becomes another key's 200 inside the same
// call, and the listener's other traffic is none of Keywheel's business.
func TestSidecar(t *testing.T) {
	in := install(t, nil)
	docs := documents(t, in.addresses, "keywheel.yaml", "groq.yaml", "sidecar.yaml")
	d := istiod(t, docs, split(t, neighbour))
	proxy := workload(d, model.SidecarProxy, "chat", map[string]string{"app": "chat", "groq": "keywheel"})
	has := generated(t, d, proxy, map[string]string{"0.0.0.0_80": in.app}, map[string]string{
		"outbound|80||api.groq.com":      in.stack.Groq.Addr(),
		"outbound|80||neighbour.example": startNeighbour(t),
	})
	e := in.start(t, "chat", has, docs)
	in.rotates(t)
	in.leavesTheNeighbourAlone(t)
	harness.AssertNoSecret(t, in.stack.Secrets(), harness.Blob{Name: "config_dump", Data: e.AdminGet(t, "/config_dump?include_eds")},
		harness.Blob{Name: "Envoy's log", Data: e.Log()})
}

// startNeighbour runs the neighbour and returns its address. It is always busy, and says which key it was given.
func startNeighbour(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Authorization-Seen", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// leavesTheNeighbourAlone calls the neighbour through the application's proxy.
func (in *installed) leavesTheNeighbourAlone(t *testing.T) {
	t.Helper()
	a := in.call(t, "neighbour.example").Do(t, harness.Call{})
	if a.Status != http.StatusTooManyRequests || a.Key != "" || a.Header.Get("Authorization-Seen") != "Bearer "+harness.ClientSecret {
		t.Errorf("the neighbour's traffic is not left alone: %s %v", a, a.Header)
	}
}
