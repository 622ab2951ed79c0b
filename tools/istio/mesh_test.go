package istio

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/log"
	"sigs.k8s.io/yaml"

	"keywheel/e2e/harness"
)

func TestMain(m *testing.M) {
	quiet := log.DefaultOptions()
	quiet.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel) // istiod's own
	if err := log.Configure(quiet); err != nil {
		panic(err)
	}
	harness.Main(m)
}

const examples = "../../examples/istio"

// istioVersion is what the proxies say they are: the release that this istiod becomes.
const istioVersion = "1.31.0"

// document is one YAML document of an example.
type document struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	text       string
}

// istios says whether istiod reads the document as its configuration; the others are Kubernetes' own.
func (d document) istios() bool { return strings.Contains(d.APIVersion, "istio.io/") }

// documents reads files of the example, with addresses in place of others: old, new, old, new.
func documents(t testing.TB, addresses []string, files ...string) []document {
	t.Helper()
	var all []document
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(examples, file))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, split(t, strings.NewReplacer(addresses...).Replace(string(content)))...)
	}
	return all
}

// split reads the documents of a YAML file.
func split(t testing.TB, content string) []document {
	t.Helper()
	var all []document
	for _, text := range strings.Split(content, "\n---\n") {
		d := document{text: text}
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		all = append(all, d)
	}
	return all
}

// istiod runs istiod's configuration generation on documents, of the example or of a test's own.
func istiod(t *testing.T, docs ...[]document) *xds.FakeDiscoveryServer {
	t.Helper()
	var configs, objects []string
	for _, d := range slices.Concat(docs...) {
		if d.istios() {
			configs = append(configs, d.text)
		} else {
			objects = append(objects, d.text)
		}
	}
	config := mesh.DefaultMeshConfig()
	config.DefaultProviders = &meshconfig.MeshConfig_DefaultProviders{Metrics: []string{"prometheus"}} // as installed
	return xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		ConfigString: strings.Join(configs, "\n---\n"), KubernetesObjectString: strings.Join(objects, "\n---\n"), MeshConfig: config,
	})
}

// workload is a pod's proxy as istiod sees it.
func workload(istiod *xds.FakeDiscoveryServer, kind model.NodeType, namespace string, labels map[string]string) *model.Proxy {
	return istiod.SetupProxy(&model.Proxy{
		Type: kind, ID: namespace + "-0." + namespace, ConfigNamespace: namespace, IPAddresses: []string{"10.0.0.1"}, Labels: labels,
		Metadata: &model.NodeMetadata{Namespace: namespace, IstioVersion: istioVersion, Labels: labels, ServiceAccount: namespace},
	})
}

// TestFilesAreValid asks Istio's own validation, which its webhook asks too.
func TestFilesAreValid(t *testing.T) {
	for _, d := range documents(t, nil, "keywheel.yaml", "groq.yaml", "sidecar.yaml", "egress-gateway.yaml", "wasmplugin.yaml") {
		if !d.istios() {
			continue
		}
		configs, unknown, err := crd.ParseInputs(d.text)
		if err != nil || len(unknown) > 0 || len(configs) != 1 {
			t.Errorf("%v, %d unknown in\n%s", err, len(unknown), d.text)
			continue
		}
		schema, ok := collections.Pilot.FindByGroupVersionKind(configs[0].GroupVersionKind)
		if !ok {
			t.Errorf("istiod does not read %s", d.Kind)
			continue
		}
		warning, err := schema.ValidateConfig(configs[0])
		if err != nil || warning != nil && d.Kind != "EnvoyFilter" { // each of which is warned of
			t.Errorf("%s %s: %v, warning %v", d.Kind, configs[0].Name, err, warning)
		}
	}
}
