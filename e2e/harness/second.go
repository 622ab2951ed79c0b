package harness

import "testing"

// SecondEnvoy starts another Envoy beside the first, with the same configuration, the node's id included, but for its
// two ports. It returns once that Envoy has its keys.
func (s *Stack) SecondEnvoy(t testing.TB) (*Envoy, *Client) {
	t.Helper()
	listen := FreeAddr(t)
	b := s.Keywheel.EnvoyConfig(t)
	b.SetAddress(t, listen, "static_resources", "listeners", 0)
	b.SetAddress(t, FreeAddr(t), "admin")
	e := NewEnvoy(t, b)
	e.Concurrency = s.Envoy.Concurrency
	e.Start(t)
	e.WaitAssigned(t)
	return e, NewClient(t, listen, false)
}

// SetAddress gives what stands at path another address.
func (b Bootstrap) SetAddress(t testing.TB, addr string, path ...any) {
	t.Helper()
	object, err := at(map[string]any(b), path...)
	if err != nil {
		t.Fatal(err)
	}
	object.(map[string]any)["address"] = socket(t, addr)
}
