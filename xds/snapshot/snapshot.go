// Package snapshot makes what is pushed to every Envoy: the configuration of each of the filter's roles, with the
// assignment and the secrets, as ECDS resources under one version. An Envoy gets those that it asks for.
//
// The rules are:
//   - The version is a hash of the content: the same state has the same version in every process, and what an Envoy
//     already has is not pushed again.
//   - The configuration is typed as a Secret, which Envoy shows as [redacted] wherever it shows configurations.
//   - The gate's configuration holds no key; the attempt's does, and that of a gate alone.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
)

// vmID names the VM that both roles share in each worker.
const vmID = "keywheel"

// reloadAfter is how soon Envoy makes a new VM after one crashed.
const reloadAfter = time.Second

// Input is everything that goes into a snapshot.
type Input struct {
	Assignment protocol.Assignment
	Secrets    map[protocol.CredentialID]secret.Key // at least those of the assignment's keys that are not disabled
	Token      secret.Key                           // with which usage reports are sent
	WasmPath   string                               // of the filter's module as Envoy sees it, the same as in its envoy.yaml

	Gate *protocol.Assignment // that the gate gets, an older one; nil: the same
}

// Build makes the snapshot of in. It returns an error, which names no secret, for an assignment that filters would
// refuse, and if a key that may be used has no secret.
func Build(in Input) (*cachev3.Snapshot, error) {
	text, err := json.Marshal(in.Assignment)
	if err != nil {
		return nil, fmt.Errorf("writing the assignment: %w", err)
	}
	if _, err := protocol.ParseAssignment(text); err != nil {
		return nil, fmt.Errorf("the filters would refuse the assignment: %w", err)
	}
	older := text
	if in.Gate != nil {
		if older, err = json.Marshal(in.Gate); err != nil {
			return nil, fmt.Errorf("writing the gate's assignment: %w", err)
		}
	}
	gate := map[string][]byte{protocol.AssignmentSecret: older, protocol.TokenSecret: []byte(in.Token.Reveal())}
	attempt := map[string][]byte{protocol.AssignmentSecret: text, protocol.TokenSecret: []byte(in.Token.Reveal())}
	for _, key := range in.Assignment.Keys {
		s := in.Secrets[key.Credential]
		switch {
		case !s.IsZero():
			attempt[key.Credential] = []byte(s.Reveal())
		case !key.Disabled:
			return nil, fmt.Errorf("the assignment names credential %s, which has no secret", key.Credential)
		}
	}
	hash := sha256.New()
	var resources []types.Resource
	for _, role := range []struct {
		name    string
		secrets map[string][]byte
	}{{protocol.GateResource, gate}, {protocol.AttemptResource, attempt}, {protocol.GateOnlyResource, attempt}} {
		r, err := resource(role.name, in.WasmPath, role.secrets)
		if err != nil {
			return nil, err
		}
		content, err := deterministic.Marshal(r)
		if err != nil {
			return nil, err
		}
		hash.Write(content)
		resources = append(resources, r)
	}
	version := hex.EncodeToString(hash.Sum(nil)[:8])
	return cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{resourcev3.ExtensionConfigType: resources})
}

// Version returns the version of a snapshot.
func Version(s *cachev3.Snapshot) string { return s.GetVersion(resourcev3.ExtensionConfigType) }

// GateOnly returns what a gate alone gets as its configuration: a serialized Secret, which protocol.ParseBundle reads.
func GateOnly(s *cachev3.Snapshot) ([]byte, error) {
	extension, _ := s.GetResources(resourcev3.ExtensionConfigType)[protocol.GateOnlyResource].(*corev3.TypedExtensionConfig)
	filter := new(wasmfilterv3.Wasm)
	if err := extension.GetTypedConfig().UnmarshalTo(filter); err != nil {
		return nil, fmt.Errorf("reading the filter's configuration: %w", err)
	}
	return filter.GetConfig().GetConfiguration().GetValue(), nil
}

// deterministic writes maps in order.
var deterministic = proto.MarshalOptions{Deterministic: true}

func resource(role, wasmPath string, secrets map[string][]byte) (*corev3.TypedExtensionConfig, error) {
	sources := make(map[string]*corev3.DataSource, len(secrets))
	for name, value := range secrets {
		sources[name] = inline(value)
	}
	configuration, err := packed(&tlsv3.Secret{Name: vmID, Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secrets: sources},
	}})
	if err != nil {
		return nil, err
	}
	filter, err := packed(Filter(role, wasmPath, configuration))
	if err != nil {
		return nil, err
	}
	return &corev3.TypedExtensionConfig{Name: role, TypedConfig: filter}, nil
}

// inline prefers text to bytes, which Envoy would show as the base64 of [redacted].
func inline(value []byte) *corev3.DataSource {
	if utf8.Valid(value) {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(value)}}
	}
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: value}}
}

func packed(m proto.Message) (*anypb.Any, error) {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, deterministic); err != nil {
		return nil, fmt.Errorf("writing the filter's configuration: %w", err)
	}
	return a, nil
}

// Filter is the Wasm filter of a role. All but the configuration is the same in envoy.yaml's default_config: with
// another vm_config the pushed roles would get a VM of their own, and a role's name is its root_id.
func Filter(role, wasmPath string, configuration *anypb.Any) *wasmfilterv3.Wasm {
	return &wasmfilterv3.Wasm{Config: &wasmv3.PluginConfig{
		Name:                        role,
		RootId:                      role,
		FailurePolicy:               wasmv3.FailurePolicy_FAIL_RELOAD,
		ReloadConfig:                &wasmv3.ReloadConfig{Backoff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(reloadAfter)}},
		AllowOnHeadersStopIteration: wrapperspb.Bool(true),
		Configuration:               configuration,
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId:    vmID,
			Runtime: "envoy.wasm.runtime.v8",
			Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
				Local: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: wasmPath}},
			}},
		}},
	}}
}
