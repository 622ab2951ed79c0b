//go:build embedwasm

package keywheel

import _ "embed"

// Wasm is the filter's module. It is empty in a binary built without the tag embedwasm.
//
//go:embed build/keywheel.wasm
var Wasm []byte
