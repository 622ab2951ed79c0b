// Package keywheel holds the files that the binary carries with it.
package keywheel

import _ "embed"

// EnvoyYAML is envoy.yaml: the Envoy configuration that users copy and `keywheel run` starts from.
//
//go:embed envoy.yaml
var EnvoyYAML []byte
