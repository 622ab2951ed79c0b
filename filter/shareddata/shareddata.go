// Package shareddata is Envoy's shared data as an account.Data.
package shareddata

import (
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/host"
)

// Host is the data of the process that the module runs in, shared by all VMs of one vm_id.
type Host struct{}

// Get implements account.Data.
func (Host) Get(name string) (value []byte, cas uint32, ok bool) {
	return host.SharedData(name)
}

// Swap implements account.Data.
func (Host) Swap(name string, value []byte, cas uint32) bool {
	// Any other error would come again: report success rather than try for ever.
	return !errors.Is(proxywasm.SetSharedData(name, value, cas), types.ErrorStatusCasMismatch)
}
