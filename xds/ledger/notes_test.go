package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
)

func rotated(from, to, reason string) protocol.Note {
	return protocol.Note{Kind: protocol.NoteRotated, Window: today, From: from, To: to, Reason: reason}
}

func TestJumpOverTwoThresholdsGivesBothInOrder(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 10080)
	w.send(e)
	w.said()
	e.spend(today, "1.1", 3600)
	for range 3 {
		w.send(e)
		w.reopen()
	}
	want := []string{
		"WARN Groq Key 1 at 75% quota - 720 tokens remaining",
		"ERROR 🚨 Groq Key 1: 90% quota used - near exhaustion!",
		"INFO Groq Key 2 ready as backup (0% used)",
		"INFO Groq Key 3 ready as emergency backup (0% used)",
	}
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
	var got []int
	for _, ev := range w.Events(0, 0) {
		got = append(got, ev.Percent)
		if ev.Used != 13680 || ev.Remaining != 720 || ev.Window != today || ev.Key != "1" || ev.Unit != "tokens" {
			t.Errorf("event %+v", ev)
		}
	}
	if diff := cmp.Diff([]int{75, 90}, got); diff != "" {
		t.Error(diff)
	}
}

func TestThresholdsOnceWhateverTheLimit(t *testing.T) {
	keys := threeKeys()
	w := newWorld(t, keys)
	e := w.newEnvoy()
	e.spend(today, "1.1", 11000)
	w.send(e)
	for _, limit := range []int64{100_000, 14400, 12000, 100_000, 11000} {
		keys[0].LimitTokens = limit
		if err := w.SetKeys(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
		w.send(e)
	}
	levels := map[int]int{}
	for _, ev := range w.Events(0, 0) {
		levels[ev.Percent]++
	}
	if diff := cmp.Diff(map[int]int{75: 1, 90: 1, 100: 1}, levels); diff != "" {
		t.Error(diff)
	}
	w.check()
}

func TestLateThresholdIsKeptButNotSaid(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	w.jump(at("24:00").Add(time.Minute))
	w.said()
	e.spend(today, "1.1", 11000)
	w.send(e)
	if said := w.said(); len(said) != 1 || !strings.Contains(said[0], "New day") {
		t.Errorf("said %q, want only the new day", said)
	}
	if ev := w.Events(0, 0); len(ev) != 2 || ev[0].Kind != event.Reset || !ev[1].Late || ev[1].Window != today {
		t.Errorf("events %+v", ev)
	}
}

// Two Envoys that leave a key for one cause are one rotation; one that leaves it again is another.
func TestRotationsAreCountedOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	note := func(e *envoy, n protocol.Note) {
		e.note(w.Now(), n)
		w.send(e)
		w.send(e)
		w.wait(time.Second)
	}
	w.send(a)
	w.send(b)
	w.said()
	note(a, rotated("1.1", "2.1", "cooling"))
	note(b, rotated("1.1", "2.1", "cooling"))
	want := []string{"INFO Skipping Groq Key 1 - cooling down", "INFO Selected Groq Key 2 (Priority 2, 0% used)"}
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
	note(a, protocol.Note{Kind: protocol.NoteReturned, Window: today, From: "2.1", To: "1.1"})
	note(b, protocol.Note{Kind: protocol.NoteReturned, Window: today, From: "2.1", To: "1.1"})
	if diff := cmp.Diff([]string{"INFO Selected Groq Key 1 (Priority 1, 0% used)"}, w.said()); diff != "" {
		t.Error(diff)
	}
	w.reopen()
	note(a, rotated("1.1", "2.1", "cooling")) // again
	note(b, rotated("1.1", "2.1", "cooling"))
	note(b, rotated("2.1", "3.1", "invalid"))
	if got := w.View().Pool; got.Rotations != 3 || got.KeyInUse != "3" {
		t.Errorf("pool %+v", got)
	}
	w.said()
	note(a, protocol.Note{Kind: protocol.NoteCompletion, Window: today, To: "3.1", Ordinal: 9, Tokens: 50})
	note(b, protocol.Note{Kind: protocol.NoteCompletion, Window: today, To: "3.1", Ordinal: 3, Tokens: 60})
	want = []string{"INFO ✅ Request #9 completed via Groq Key 3", "INFO Groq Key 3: +50 tokens (total: 50 / 14,400)"}
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
	rotations := 0
	for _, ev := range w.Events(0, 0) {
		if ev.Kind == event.Rotated {
			rotations++
		}
	}
	if rotations != 3 {
		t.Errorf("%d events", rotations)
	}
	w.check()
}

func TestOrdinalCountsAllEnvoys(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	for range 100 {
		a.spend(today, "1.1", 1)
	}
	w.send(a)
	for range 45 {
		b.spend(today, "1.1", 1)
	}
	w.said()
	b.note(w.Now(), rotated("1.1", "2.1", "restricted"))
	b.note(w.Now(), protocol.Note{Kind: protocol.NoteCompletion, Window: today, To: "2.1", Ordinal: 45, Tokens: 1})
	w.send(b)
	want := []string{
		"INFO Envoy connected", "INFO Skipping Groq Key 1 - restricted", "INFO Selected Groq Key 2 (Priority 2, 0% used)",
		"INFO ✅ Request #145 completed via Groq Key 2", "INFO Groq Key 2: +1 tokens (total: 1 / 14,400)",
	}
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
}

func TestAllKeysOutAndBack(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.note(w.Now(), protocol.Note{Kind: protocol.NoteOut, Window: today}) // busy for a moment
	w.send(e)
	for _, c := range []string{"1.1", "2.1", "3.1"} {
		e.spend(today, c, 14350)
	}
	w.send(e)
	w.said()
	for range 2 {
		e.window(today).Gate.Refused++
		e.window(today).Gate.Requests++
		e.window(today).Gate.LastServedMS, e.window(today).Gate.LastRefusalMS = 5000, 1
		e.note(w.Now(), protocol.Note{Kind: protocol.NoteOut, Window: today})
		w.send(e)
	}
	e.window(today).Gate.LastRefusalMS = 3000
	if _, err := w.Clear(t.Context(), "1", audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	w.said()
	e.spend(today, "1.2", 10)
	w.send(e)
	if diff := cmp.Diff([]string{"INFO Groq keys serve again"}, w.said()); diff != "" {
		t.Error(diff)
	}
	var kinds []event.Kind
	for _, ev := range w.Events(0, 0) {
		if ev.Kind != event.Threshold {
			kinds = append(kinds, ev.Kind)
		}
	}
	if diff := cmp.Diff([]event.Kind{event.AllOut, event.KeyCleared, event.AllBack}, kinds); diff != "" {
		t.Error(diff)
	}
	w.check()
}

func TestHealthOfTheLastMinutes(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	for range 3 {
		e.spend(today, "1.1", 10)
	}
	e.spend(today, "2.1", 10)
	u := e.credential(today, "2.1")
	u.TimeMS[11], u.TimeMS[3] = 0, 1
	u = e.credential(today, "1.1")
	u.Attempts["limited"], u.Attempts["caller"], u.Attempts["connect"] = 1, 5, 7
	e.window(today).Gate.Requests += 2
	e.window(today).Gate.Failed++
	e.window(today).Gate.CallerFaults++
	a := w.send(e)
	want := []protocol.KeyState{{ID: "1", Health: 0.75, MedianMS: 1200}, {ID: "2", Health: 1, MedianMS: 40}, {ID: "3", Health: 1}}
	if diff := cmp.Diff(want, a.Keys); diff != "" {
		t.Error(diff)
	}
	v := w.View()
	if v.Health != 80 || v.Keys[0].Health != 75 || v.Keys[0].MedianMS != 1200 || v.Keys[0].Score != 73.1 || v.Keys[1].Score != 95 {
		t.Errorf("health %v, key 1 %+v, key 2 %+v", v.Health, v.Keys[0], v.Keys[1])
	}
	w.wait(15 * time.Minute)
	if v := w.View(); v.Health != 100 || v.Keys[0].Health != 100 || v.Keys[0].MedianMS != 0 {
		t.Errorf("a quarter of an hour later %v, %+v", v.Health, v.Keys[0])
	}
}

func TestEdgeAndNodes(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.note(w.Now(), protocol.Note{Kind: protocol.NoteEdge, Window: today, To: "1.1"})
	w.NodeSeen("envoy", "1.40.0", 1)
	w.NodeSeen("other", "1.38.0", 2)
	for range 2 {
		if err := w.Rejected(t.Context(), "envoy", "bad config"); err != nil {
			t.Fatal(err)
		}
		if err := w.OldEnvoy(t.Context(), "other", "1.38.0"); err != nil {
			t.Fatal(err)
		}
	}
	if said := strings.Join(w.said(), "\n"); strings.Count(said, "Envoy refused the assignment") != 1 || strings.Count(said, "too old") != 1 {
		t.Errorf("said %s, want each once", said)
	}
	r := e.report(w.Now().Add(3 * time.Second))
	r.HostMS, r.BadConfigs, r.Mode = w.host.Add(-90*time.Second).UnixMilli(), 2, protocol.ModeGateOnly
	if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
		t.Fatal(err)
	}
	now := w.Now()
	want := []ProxyView{
		{Incarnation: e.id, Node: "envoy", Version: "1.40.0", Connected: true, Rejected: 4, LastError: "bad config", FirstReport: now, LastReport: now, Reports: 1, SkewMS: -90_000,
			GateOnly: true},
		{Node: "other", Version: "1.38.0", Connected: true},
	}
	if diff := cmp.Diff(want, w.View().Proxies); diff != "" {
		t.Error(diff)
	}
	w.NodeGone("other", 2)
	if n := len(w.View().Proxies); n != 1 {
		t.Errorf("%d proxies", n)
	}
	var kinds []event.Kind
	for _, ev := range w.Events(0, 0) {
		kinds = append(kinds, ev.Kind)
	}
	if diff := cmp.Diff([]event.Kind{event.Rejected, event.OldEnvoy, event.Edge, event.ClockSkew, event.Rejected}, kinds); diff != "" {
		t.Error(diff)
	}
	w.check()
}
