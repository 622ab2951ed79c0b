package plugin

import (
	"bytes"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/host"
)

// An upstream that repeats what it was sent must not give the key away. A header that shows the secret of the key that
// served is taken off, whatever its name. A body is never changed; of an error, which is read anyway, it is told.

// withheld returns the names of headers whose value shows a key's secret; empty: there is none.
func (v *vm) withheld(keyID, secret string, headers host.Headers) (names []string) {
	if secret == "" {
		return nil
	}
	for {
		name, value, ok := headers.Next()
		if !ok {
			return names
		}
		if len(value) >= len(secret) && strings.Contains(value, secret) {
			v.echoed(keyID, "the header "+name)
			names = append(names, strings.Clone(name))
		}
	}
}

// secretOf is the secret of a key; empty where this VM does not have it.
func (v *vm) secretOf(keyID string) string {
	for _, a := range [...]*assigned{v.attempt, v.only} {
		if a != nil && a.shown[keyID] != "" {
			return a.shown[keyID]
		}
	}
	return ""
}

// warnOfEcho tells of an error's body that shows the secret. The body passes: nothing that is read changes a byte.
func (v *vm) warnOfEcho(keyID string, body []byte) {
	if secret := v.secretOf(keyID); secret != "" && bytes.Contains(body, []byte(secret)) {
		v.echoed(keyID, "an error's body, which passed")
	}
}

// echoed counts and tells that an answer shows a secret.
func (v *vm) echoed(keyID, where string) {
	v.stats.echo()
	host := hostMS()
	if host >= v.echoMS && host-v.echoMS < saidEveryMS {
		return
	}
	v.echoMS = host
	proxywasm.LogCriticalf("keywheel: the upstream shows key %s in %s; see that KEYWHEEL_UPSTREAM_URL is Groq, and replace the key", keyID, where)
}
