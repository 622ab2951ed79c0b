package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/shared/protocol"
)

// bearer is what stands before a secret in an Authorization.
const bearer = "Bearer "

// assigned is an assignment, with the secrets that its role needs.
type assigned struct {
	*protocol.Assignment
	picker  *picker.Picker
	secrets protocol.Bundle
	bearers map[protocol.CredentialID]string // the Authorization of each credential that has a secret
	shown   map[string]string                // each key's secret, by its ID, to know it where an answer shows it
}

func (a *assigned) version() account.Version {
	if a == nil {
		return account.Version{}
	}
	return account.Version{Epoch: a.Epoch, Generation: a.Generation}
}

// configure takes the pushed assignment over where it is good and not older than the one in force.
func (r *root) configure() {
	b, err := proxywasm.GetPluginConfiguration()
	if err != nil || len(b) == 0 {
		return
	}
	r.pushed = b
	fault(atStart)
	r.use(b)
	r.pushed = nil
}

// again takes a configuration over in which something panicked, once more.
func (r *root) again() {
	b := r.pushed
	if b == nil {
		return
	}
	r.pushed = nil
	r.use(b)
}

// use puts a configuration in force. With one that cannot be used, the last good one stays.
func (r *root) use(b []byte) {
	if r.role == protocol.GateOnlyResource && isRemote(b) {
		r.configureRemote(b)
		return
	}
	a, err := parse(b)
	if err != nil {
		r.vm.book.Refuse(b)
		proxywasm.LogErrorf("keywheel: refused an assignment, the last good one stays in force: %v", err)
		return
	}
	if a == nil { // the default configuration, before the control plane's first
		if r.assigned() != nil {
			r.vm.book.Refuse(b)
			proxywasm.LogError("keywheel: refused a configuration without an assignment, the last good one stays in force")
		}
		return
	}
	if !r.take(a) {
		r.vm.book.Refuse(b)
		proxywasm.LogErrorf("keywheel: refused an assignment of generation %d, which is older than the one in force", a.Generation)
	}
}

// take puts an assignment in force, unless a newer one is. A credential that is new here waits for its allowance.
func (r *root) take(a *assigned) bool {
	current := r.place()
	if a.version().Before((*current).version()) {
		return false
	}
	*current = a
	v := r.vm
	v.forGates = v.gate
	if v.gate.version().Before(v.attempt.version()) {
		v.forGates = v.attempt
	}
	v.earlyMS = hostMS()
	return true
}

// place is where the VM keeps the role's assignment.
func (r *root) place() **assigned {
	switch r.role {
	case protocol.AttemptResource:
		return &r.vm.attempt
	case protocol.GateOnlyResource:
		return &r.vm.only
	}
	return &r.vm.gate
}

// assigned is the role's assignment; nil before the first. Of a gate and an attempt in one VM, the gate goes by the newer:
// the control plane pushes the attempt's at once, and the gate's more seldom.
func (r *root) assigned() *assigned {
	if r.role == protocol.GateResource {
		return r.vm.forGates
	}
	return *r.place()
}

// parse reads a plugin configuration; nil without an error where it holds no assignment.
func parse(b []byte) (*assigned, error) {
	bundle, err := protocol.ParseBundle(b)
	if err != nil {
		return nil, err
	}
	j, ok := bundle[protocol.AssignmentSecret]
	if !ok {
		return nil, nil
	}
	a, err := protocol.ParseAssignment(j)
	if err != nil {
		return nil, err
	}
	bearers, shown := make(map[protocol.CredentialID]string, len(a.Keys)), make(map[string]string, len(a.Keys))
	for _, k := range a.Keys {
		if secret := string(bundle[k.Credential]); secret != "" {
			bearers[k.Credential], shown[k.ID] = bearer+secret, secret
		}
	}
	return &assigned{Assignment: a, picker: picker.New(a), secrets: bundle, bearers: bearers, shown: shown}, nil
}
