package envoycheck

import (
	"fmt"
	"slices"
	"strings"

	"keywheel/shared/protocol"
)

// use is one place where a role of Keywheel's is played.
type use struct {
	role     string
	filter   value
	place    string
	upstream bool
}

// uses are all filters of Keywheel's in the file.
func (c *checker) uses() (found []use) {
	for _, m := range c.managers {
		for _, f := range m.gates {
			found = append(found, use{roleOf(f), f, m.place + " › filter " + roleOf(f), false})
		}
	}
	for _, cl := range c.clusterList {
		if cl.attempt.exists() {
			found = append(found, use{protocol.AttemptResource, cl.attempt, cl.place + " › filter " + protocol.AttemptResource, true})
		}
	}
	return found
}

// checkRoles looks at how each role is configured, and whether they fit together.
func (c *checker) checkRoles() {
	uses := c.uses()
	uses = slices.DeleteFunc(uses, func(u use) bool {
		if owned(u.filter) {
			c.checkOwned(u)
		}
		return owned(u.filter)
	})
	for _, u := range uses {
		if name := u.filter.at("name"); name.text() != u.role {
			c.add(finding{code: "filter-name-wrong", place: u.place, at: name,
				wrong: fmt.Sprintf("The filter is called %q: by that name Envoy asks for its configuration, and the control plane knows none. It never "+
					"gets a key.", name.text()),
				write: "- name: " + u.role})
		}
		discovery := u.filter.at("config_discovery")
		if !discovery.exists() {
			c.add(finding{code: "filter-is-static", place: u.place, at: u.filter,
				wrong: "The filter has a fixed configuration (typed_config): it never hears of the keys, and no call gets one.",
				write: strings.TrimSuffix(fragmentDiscovery, "      config:\n") + "      # and config as in envoy.yaml"})
			continue
		}
		c.checkDiscovery(u, discovery)
		if plugin(u.filter).exists() {
			c.checkPlugin(u)
		}
	}
	c.checkVMs(uses)
}

// checkOwned looks at a gate alone that no push of Keywheel's ever changes.
func (c *checker) checkOwned(u use) {
	p := plugin(u.filter)
	if p.at("failure_policy").isOneOf("FAIL_OPEN", "3") || p.at("fail_open").isTrue() {
		c.addAs(Error, finding{code: "fail-open", place: u.place, at: cmpValue(p.at("failure_policy"), p.at("fail_open")),
			wrong: "When the module cannot run, calls pass without it: they go to Groq without a key.", write: "failure_policy: FAIL_RELOAD"})
	}
}

// checkDiscovery looks at how a role gets its configuration.
func (c *checker) checkDiscovery(u use, discovery value) {
	types := discovery.at("type_urls")
	if !slices.ContainsFunc(types.items(), func(v value) bool { return v.text() == "type.googleapis.com/"+typeWasm }) {
		c.add(finding{code: "filter-not-announced", place: u.place, at: cmpValue(types, discovery),
			wrong: "type_urls does not name the Wasm filter: Envoy refuses what the control plane sends, and the keys with it.",
			write: "type_urls: [type.googleapis.com/" + typeWasm + "]"})
	}
	defaults := discovery.at("default_config")
	switch waits := discovery.at("apply_default_config_without_warming"); {
	case !defaults.exists():
		c.add(finding{code: "default-config-missing", place: u.place, at: discovery,
			wrong: "There is no default_config: while the control plane does not answer, Envoy does not serve for its first 15 s, and then no call succeeds.",
			write: fragmentDefaults(u.role)})
	case !plugin(u.filter).exists():
		c.add(finding{code: "default-config-missing", place: u.place, at: defaults,
			wrong: "default_config is no Wasm filter with a config: Envoy has nothing to run until the control plane has answered.",
			write: fragmentDefaults(u.role)})
	case !waits.isTrue():
		c.add(finding{code: "default-config-waits", place: u.place, at: cmpValue(waits, discovery),
			wrong: "apply_default_config_without_warming is not true: Envoy waits for the control plane before it serves, 15 s if that is away.",
			write: "apply_default_config_without_warming: true"})
	}
	c.checkSource(u, discovery.at("config_source"))
}

// fragmentDefaults is a role's default_config.
func fragmentDefaults(role string) string {
	_, defaults, _ := strings.Cut(fragmentDiscovery, "    apply_default")
	return "    apply_default" + defaults + fmt.Sprintf("        name: %s\n        root_id: %s\n", role, role) + fragmentPlugin
}

// cmpValue is v, or where v would stand.
func cmpValue(v, around value) value {
	if v.exists() {
		return v
	}
	return around
}

// untilPushed ends what is said of default_config: the control plane's own configuration replaces it as a whole.
const untilPushed = ", until the control plane's own configuration has come."

// checkPlugin looks at the module's own configuration.
func (c *checker) checkPlugin(u use) {
	p := plugin(u.filter)
	if root := p.at("root_id"); root.text() != u.role {
		c.add(finding{code: "root-id-wrong", place: u.place, at: cmpValue(root, p),
			wrong: fmt.Sprintf("root_id is %q: by it the module knows its role, and does nothing under any other"+untilPushed, root.text()),
			write: "root_id: " + u.role})
	}
	if name := p.at("name"); name.text() != u.role {
		c.add(finding{code: "plugin-name-wrong", place: u.place, at: cmpValue(name, p),
			wrong: fmt.Sprintf("The module's configuration is called %q, and what the control plane sends %q: Envoy's log has two names for one "+
				"thing.", name.text(), u.role),
			write: "name: " + u.role})
	}
	if stop := p.at("allow_on_headers_stop_iteration"); !stop.isTrue() {
		c.add(finding{code: "stop-iteration-missing", place: u.place, at: cmpValue(stop, p),
			wrong: "allow_on_headers_stop_iteration is not true: a call whose headers the filter holds until it has seen the body hangs" + untilPushed,
			write: "allow_on_headers_stop_iteration: true"})
	}
	switch policy := p.at("failure_policy"); {
	case policy.isOneOf("FAIL_OPEN", "3") || p.at("fail_open").isTrue():
		c.add(finding{code: "fail-open", place: u.place, at: cmpValue(policy, p.at("fail_open")),
			wrong: "When the module cannot run, calls pass without it: they go to Groq without a key or uncounted" + untilPushed,
			write: "failure_policy: FAIL_RELOAD"})
	case !policy.isOneOf("FAIL_RELOAD", "1"):
		c.add(finding{code: "no-reload", place: u.place, at: cmpValue(policy, p),
			wrong: "failure_policy is not FAIL_RELOAD: after a crash of the module its worker answers 503 for good" + untilPushed,
			write: "failure_policy: FAIL_RELOAD\nreload_config: { backoff: { base_interval: 1s } }"})
	}
}

// checkVMs looks at what the roles run in. They share their counters only within one VM.
func (c *checker) checkVMs(uses []use) {
	var first use
	for _, u := range uses {
		vm := plugin(u.filter).at("vm_config")
		if !plugin(u.filter).exists() {
			continue
		}
		if !first.filter.exists() {
			first = u
			c.checkVM(u, vm)
			continue
		}
		if differ := differences(plugin(first.filter).at("vm_config"), vm); len(differ) > 0 {
			c.add(finding{code: "vm-config-differs", place: u.place, at: cmpValue(vm, u.filter),
				wrong: fmt.Sprintf("vm_config differs from that of %s (%s): each worker has a VM more, and the roles do not share their state"+untilPushed,
					first.place, strings.Join(differ, ", ")),
				write: "vm_config: &vm # in the first of them; in all others: vm_config: *vm"})
		}
	}
}

// differences names the fields in which two objects differ.
func differences(a, b value) []string {
	var found []string
	for _, v := range []value{a, b} {
		for _, e := range v.entries() {
			name := snake(e.key)
			if a.at(name).canonical() != b.at(name).canonical() && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	if a.exists() != b.exists() && len(found) == 0 {
		found = append(found, "missing")
	}
	return found
}

// checkVM compares a role's VM with that of what the control plane sends.
func (c *checker) checkVM(u use, vm value) {
	if runtime := vm.at("runtime"); runtime.text() != "envoy.wasm.runtime.v8" {
		c.add(finding{code: "runtime-not-v8", place: u.place, at: cmpValue(runtime, cmpValue(vm, u.filter)),
			wrong: fmt.Sprintf("The runtime is %q, which Envoy's releases do not have: Envoy does not start.", runtime.text()),
			write: "runtime: envoy.wasm.runtime.v8"})
	}
	local := "code:\n  local:\n    filename: /var/lib/keywheel/keywheel.wasm"
	switch code := vm.at("code"); {
	case code.at("remote").exists():
		c.add(finding{code: "wasm-code-remote", place: u.place, at: code,
			wrong: "The module is fetched over the network, which Envoy warns may crash it, and what the control plane sends names a file: the two " +
				"would not share what is spent.",
			write: local})
	case code.at("local", "filename").text() == "":
		c.add(finding{code: "wasm-code-missing", place: u.place, at: cmpValue(code, cmpValue(vm, u.filter)),
			wrong: "No file of the module is named (vm_config.code.local.filename), as it is in what the control plane sends: there is nothing to " +
				"run, or the two do not share what is spent.",
			write: local})
	}
	for _, e := range vm.entries() {
		name := snake(e.key)
		if name == "runtime" || name == "code" || name == "vm_id" && e.text() == "keywheel" {
			continue
		}
		c.add(finding{code: "vm-config-unlike-pushed", place: u.place, at: e.value,
			wrong: fmt.Sprintf("vm_config's %s is not as in what the control plane sends: with the first push each worker gets a second VM, and the "+
				"first stays in memory.", name),
			write: "vm_id: keywheel # and beside it only runtime and code"})
	}
	if !vm.at("vm_id").exists() && vm.exists() {
		c.add(finding{code: "vm-config-unlike-pushed", place: u.place, at: vm,
			wrong: "vm_config has no vm_id, and what the control plane sends has one: with the first push each worker gets a second VM, and the " +
				"first stays in memory.",
			write: "vm_id: keywheel"})
	}
}
