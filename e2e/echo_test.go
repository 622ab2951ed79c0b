package e2e

import (
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// An upstream that repeats the request's Authorization in a header of its answer, under the same name or another, does not
// show the key to the client, whatever the answer. It is counted, and Envoy's log says it, by the key's ID.
func TestEchoedKeyIsWithheld(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for version, c := range s.Clients() {
		for _, echo := range []string{"Authorization", "X-Debug-Request", "Server", "X-Keywheel-Key", "Www-Authenticate"} {
			for _, rule := range []fakegroq.Rule{{Echo: echo}, {Echo: echo, Fault: fakegroq.BadRequest}, {Echo: echo, Fault: fakegroq.RateTPM, Only: "1"}} {
				for _, stream := range []bool{false, true} {
					a := c.Do(t, harness.Call{Script: rule, Stream: stream, Model: echo + string(rule.Fault)})
					harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: version + ": an answer with " + echo, Data: headerText(a.Header) + string(a.Body)})
					want := "1"
					if rule.Only != "" {
						want = "2"
					}
					if got := a.Header.Get(echo); got != "" && got != want && echo != "Server" || a.Key != want {
						t.Errorf("%s: %s is %q: %s", version, echo, got, a)
					}
				}
				s.Recover(t)
			}
		}
	}
	s.Envoy.WaitLog(t, "the upstream shows key 1 in the header")
	if n := s.Envoy.Stats(t, "keywheel.secrets_shown")["wasmcustom.keywheel.secrets_shown"]; n == 0 {
		t.Error("it is not counted")
	}
}
