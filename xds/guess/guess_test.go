package guess_test

import (
	"net/netip"
	"testing"
	"time"

	"keywheel/xds/guess"
)

func TestWrongTokensAreCountedBySource(t *testing.T) {
	now := time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC)
	l := guess.New(func() time.Time { return now })
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range guess.MaxWrong {
		if wait, reached := l.Wrong(one); wait != 0 || reached {
			t.Fatalf("to wait %s, %v", wait, reached)
		}
	}
	now = now.Add(20 * time.Second)
	for _, first := range []bool{true, false} {
		if wait, reached := l.Wrong(one); wait != 40*time.Second || reached != first {
			t.Errorf("beyond the bound: to wait %s, %v", wait, reached)
		}
	}
	if wait, _ := l.Wrong(other); wait != 0 || l.Sources() != 2 {
		t.Errorf("another source waits %s; %d sources", wait, l.Sources())
	}
	now = now.Add(time.Minute)
	if wait, _ := l.Wrong(one); wait != 0 {
		t.Errorf("a minute later: to wait %s", wait)
	}
}
