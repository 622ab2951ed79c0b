//go:build !embedwasm

package keywheel

// Wasm is the filter's module. It is empty in a binary built without the tag embedwasm.
var Wasm []byte
