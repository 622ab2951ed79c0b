// Package mtls_test holds the example to what it says. That it works with a real Envoy is a test in e2e.
package mtls_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"keywheel"
	"keywheel/shared/protocol"
	"keywheel/xds/envoy"
	"keywheel/xds/mtls"
)

// TestEnvoyIsAsUsual but for the way to the control plane.
func TestEnvoyIsAsUsual(t *testing.T) {
	text, err := os.ReadFile("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rest := func(text []byte) *bootstrapv3.Bootstrap {
		t.Helper()
		b, err := envoy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all := len(b.StaticResources.Clusters)
		b.StaticResources.Clusters = slices.DeleteFunc(b.StaticResources.Clusters, func(c *clusterv3.Cluster) bool {
			return c.GetName() == protocol.ControlPlaneCluster
		})
		if len(b.StaticResources.Clusters) != all-1 {
			t.Fatalf("%d of %d clusters are left", len(b.StaticResources.Clusters), all)
		}
		return b
	}
	if diff := cmp.Diff(rest(keywheel.EnvoyYAML), rest(text), protocmp.Transform()); diff != "" {
		t.Errorf("it differs from envoy.yaml (-there +here):\n%s", diff)
	}
}

// TestCertificates runs the script twice: what it makes is good, and a renewed certificate is of the same authority.
func TestCertificates(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no openssl to run the script with")
	}
	for host, names := range map[string]string{"keywheel.example.org": "keywheel.example.org", "192.0.2.7": "192.0.2.7", "2001:db8::7": "2001:db8::7", "7.example": "7.example"} {
		dir := filepath.Join(t.TempDir(), "made here")
		first := run(t, host, dir)
		second := run(t, host, dir)
		for _, side := range []string{"control-plane", "envoy"} {
			if first[side].Digest() == second[side].Digest() {
				t.Errorf("%s is not renewed", side)
			}
		}
		if got := strings.Join(first["control-plane"].Names(), " "); got != names || first["control-plane"].CanConnect() || !first["envoy"].CanConnect() {
			t.Errorf("%s: the control plane's is for %s", host, got)
		}
		if flaws := second["control-plane"].Concerns(time.Now()); len(flaws) > 0 {
			t.Errorf("%s: %v", host, flaws)
		}
		// Of the new authority's file and the old certificate.
		if flaws := load(t, filepath.Join(dir, "envoy"), filepath.Join(dir, "control-plane", "ca.pem")).Concerns(time.Now()); len(flaws) != 1 {
			t.Errorf("Envoy's certificate is not only for clients: %v", flaws)
		}
	}
}

// run runs the script and returns what each host has then.
func run(t *testing.T, host, dir string) map[string]*mtls.Identity {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "./certificates.sh", host, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made := map[string]*mtls.Identity{}
	for _, side := range []string{"control-plane", "envoy"} {
		made[side] = load(t, filepath.Join(dir, side), filepath.Join(dir, side, "ca.pem"))
		info, err := os.Stat(filepath.Join(dir, side, "key.pem"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key of %s: %v, %v", side, info.Mode(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	return made
}

func load(t *testing.T, dir, authority string) *mtls.Identity {
	t.Helper()
	var contents [3][]byte
	for i, path := range []string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), authority} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents[i] = content
	}
	id, flaws := mtls.Load(contents[0], contents[1], contents[2])
	if flaws != nil {
		t.Fatal(flaws)
	}
	return id
}
