package e2e

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/harness"
)

// The README's demo, called as soon as its banner stands there: with no key and with the intervals as they are by
// default, key 1 serves six calls, then key 2, then key 3, and no call fails before Envoy refuses by itself. Every call
// comes on a connection of its own, as curl's do. The store is gone afterwards.
func TestDemo(t *testing.T) {
	t.Parallel()
	k := harness.NewKeywheel(t, harness.KeywheelOptions{Args: []string{"--demo"}})
	for _, name := range []string{
		"KEYWHEEL_STORE", "KEYWHEEL_XDS_ADDR", "KEYWHEEL_UPSTREAM_URL",
		"KEYWHEEL_REPORT_INTERVAL", "KEYWHEEL_PUSH_INTERVAL", "KEYWHEEL_ENVOY_CONCURRENCY",
	} {
		k.Set(name, "")
	}
	c := harness.NewClient(t, k.Listen, false)
	k.Launch(t, "run")
	k.WaitLog(t, "\n  Admin  ")

	var got, want []string
	for i := range 20 {
		a := c.Do(t, harness.Call{Path: "/v1/chat/completions", Header: map[string][]string{"Authorization": nil}})
		c.HTTP().CloseIdleConnections()
		got = append(got, strconv.Itoa(a.Status)+" "+a.Key+a.ErrorCode())
		if i < 18 {
			want = append(want, "200 "+strconv.Itoa(i/6+1))
		} else {
			want = append(want, "429 all_keys_exhausted")
		}
		if demo := a.Header.Values("x-keywheel-demo"); !cmp.Equal(demo, []string{"true"}) {
			t.Errorf("call %d has x-keywheel-demo %q: %s", i, demo, a)
		}
		seconds, err := strconv.Atoi(a.Header.Get("retry-after"))
		if limited := a.Status == 429; limited != (err == nil && seconds > 0 && seconds <= 24*60*60) {
			t.Errorf("call %d has Retry-After %q: %s", i, a.Header.Get("retry-after"), a)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statuses with key or error code (-want +got):\n%s", diff)
	}
	if exit := k.Interrupt(t); exit != 0 {
		t.Errorf("on SIGINT the exit code is %d", exit)
	}
	if left, err := filepath.Glob(filepath.Join(k.Dir, "keywheel-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v, %v", left, err)
	}
}
