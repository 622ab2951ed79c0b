package plugin_test

import (
	"testing"

	"keywheel/filter/plugin"
	"keywheel/filter/trail"
)

// While one module replaces another, a gate and its attempts can be in different VMs.
func TestAnAttemptInAnotherVM(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	for _, status := range []string{"200", "503"} {
		e.call(chat(), question)
		raw, err := e.host.GetProperty([]string{trail.Property})
		if err != nil {
			t.Fatal(err)
		}
		tr, _ := trail.Parse(raw)
		here := tr.Call
		tr.Call = 1 // nobody's here
		if err := e.host.SetProperty([]string{trail.Property}, tr.Append(nil)); err != nil {
			t.Fatal(err)
		}
		a := e.try()
		answer := e.answer(a, [][2]string{{":status", status}, {"content-type", "application/json"}, {"set-cookie", "c"}}, reply)
		if status != "200" { // the next attempt is in the gate's VM
			raw, _ = e.host.GetProperty([]string{trail.Property})
			tr, _ = trail.Parse(raw)
			tr.Call = here
			if err := e.host.SetProperty([]string{trail.Property}, tr.Append(nil)); err != nil {
				t.Fatal(err)
			}
			answer = e.answer(e.try(), ok, reply)
		}
		e.finish(answer, reply)
		got := e.host.GetCurrentResponseHeaders(e.gate)
		if value(got, "set-cookie") != "" || value(got, "x-keywheel-key") == "" {
			t.Errorf("%v", got)
		}
	}
	r := e.report()
	if got := used(r); got["1.1"] != 100 || got["2.1"] != 100 {
		t.Errorf("used %v", got)
	}
	if g := gateUsage(r); g.Succeeded != 2 || g.Rescues != 1 || len(r.Reserved) != 0 {
		t.Errorf("%+v, reserved %v", g, r.Reserved)
	}
}
