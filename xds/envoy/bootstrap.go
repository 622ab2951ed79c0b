// Package envoy finds, configures, starts and looks after the Envoy of `keywheel run`.
//
// The rules are:
//   - Envoy is started from envoy.yaml, the file that users copy. Only what depends on the machine and the settings is
//     changed in it, by the names that the file's comments ask to keep.
//   - Envoy gets no secret: not in its environment, its arguments or its configuration file. Keys come by xDS.
//   - Whoever stops Envoy waits for the calls that run.
package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	// The types that envoy.yaml holds as Any.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
)

// Parse reads an Envoy configuration written as YAML. An unknown field is an error.
func Parse(text []byte) (*bootstrapv3.Bootstrap, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("envoy.yaml is not YAML: %w", err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(asJSON, b); err != nil {
		return nil, fmt.Errorf("envoy.yaml is not an Envoy configuration: %w", err)
	}
	return b, nil
}

// Marshal writes the configuration as JSON, which Envoy reads as well, always the same way.
func Marshal(b *bootstrapv3.Bootstrap) ([]byte, error) {
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("writing Envoy's configuration: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", " "); err != nil { // protojson's own spacing differs from run to run
		return nil, fmt.Errorf("writing Envoy's configuration: %w", err)
	}
	return out.Bytes(), nil
}

// Configure returns text, an envoy.yaml, adapted to s, as JSON.
func Configure(text []byte, s Settings) ([]byte, error) {
	b, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if err := Adapt(b, s); err != nil {
		return nil, err
	}
	return Marshal(b)
}

// edit changes the message inside a. found is false, and nothing changed, if it is of another type.
func edit[T proto.Message](a *anypb.Any, change func(T) error) (found bool, err error) {
	var zero T
	m, ok := zero.ProtoReflect().New().Interface().(T)
	if !ok || !a.MessageIs(m) {
		return false, nil
	}
	if err := a.UnmarshalTo(m); err != nil {
		return true, err
	}
	if err := change(m); err != nil {
		return true, err
	}
	return true, anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true})
}
