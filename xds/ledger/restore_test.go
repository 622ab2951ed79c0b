package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

// restore puts records in the account's place.
func (w *world) restore(records []store.Record) int64 {
	w.Helper()
	generation, err := w.Restore(context.Background(), Restoration{Records: records, Keys: w.keys, Audit: audit.Entry{Who: audit.Admin, What: "restore", Outcome: audit.Done}})
	if err != nil {
		w.Fatal(err)
	}
	w.check()
	return generation
}

// secret is a key's configuration with another secret.
func withSecret(keys []KeyConfig, i int, secret byte) []KeyConfig {
	keys[i].SecretHash = [32]byte{secret}
	return keys
}

// An older backup is restored while it runs: what living Envoys counted comes back, and what they may spend is known.
func TestRestoreWhileRunning(t *testing.T) {
	w := newWorld(t, threeKeys())
	alive, dead := w.newEnvoy(), w.newEnvoy()
	alive.spend(today, "1.1", 100)
	dead.spend(today, "2.1", 50)
	w.send(alive)
	w.send(dead)
	backup := w.memory.Records()

	alive.spend(today, "1.1", 11_000) // over a threshold, which is told
	w.send(alive)
	dead.spend(today, "2.1", 60)
	w.send(dead)
	if err := w.ConnClosed(t.Context(), dead.peer.ConnID); err != nil {
		t.Fatal(err)
	}
	newcomer := w.newEnvoy()
	newcomer.spend(today, "3.1", 700)
	w.send(newcomer)
	w.send(alive)
	before, token, told := w.Assignment(), w.ReportToken(), len(w.eventsOf(event.Threshold))
	audits, events := len(w.Audits(0)), w.Newest(1)[0].ID
	for len(w.Changed()) > 0 {
		<-w.Changed()
	}
	w.wait(time.Hour)
	w.buryNobody(alive, newcomer)

	generation := w.restore(backup)
	after := w.Assignment()
	if after.Epoch <= before.Epoch || after.Generation != generation || generation <= before.Generation || len(w.Changed()) != 1 {
		t.Errorf("%d.%d after %d.%d; %d", after.Epoch, after.Generation, before.Epoch, before.Generation, generation)
	}
	if w.ReportToken() != token || !w.CheckToken(token) {
		t.Error("reports would be refused")
	}
	if w.key("1").Used != 100 || w.key("2").Used != 50 || w.key("3").Used != 0 {
		t.Errorf("used %d, %d, %d", w.key("1").Used, w.key("2").Used, w.key("3").Used)
	}
	if held := w.byID["1"].account(window(today)).tokens.held; held < 10_000 {
		t.Errorf("it is forgotten that Envoys may spend more than in the backup; held are %d tokens", held)
	}
	if len(w.Audits(0)) != audits || len(w.Audits(5)) == 0 || w.Audits(1)[0].What != "restore" || w.Newest(1)[0].ID < events {
		t.Error("the audit or the events are the backup's")
	}
	if a := w.send(alive); a.Epoch != after.Epoch {
		t.Error("the answer has another epoch")
	}
	w.send(newcomer)
	if w.key("1").Used != 11_100 || w.key("2").Used != 50 || w.key("3").Used != 700 || w.Stats().StoreRestored != 0 {
		t.Errorf("used %d, %d, %d", w.key("1").Used, w.key("2").Used, w.key("3").Used)
	}
	if n := len(w.eventsOf(event.Threshold)); n != told {
		t.Errorf("a threshold is told again: %d after %d", n, told)
	}
	w.check()
	w.reopen()
	w.check()
	if w.key("1").Used != 11_100 || w.Assignment().Epoch != after.Epoch {
		t.Error("it was not durable")
	}
}

// buryNobody has Envoys report, so that none is taken for dead.
func (w *world) buryNobody(all ...*envoy) {
	for _, e := range all {
		w.send(e)
	}
}

// People hear of a restore as of anything else, by the routes; of one that was not made they hear nothing.
func TestRestoreIsTold(t *testing.T) {
	w := newWorld(t, threeKeys())
	backup := w.memory.Records()
	const said = "WARN The account is that of a backup now; what living Envoys counted since comes back with their usage reports"
	for _, log := range []bool{true, false} {
		w.route = func(*event.Event) Route { return Route{Log: log, Receivers: []string{"telegram", "webhook"}} }
		w.reopen()
		events, notices := len(w.eventsOf(event.Restored)), len(w.Notifications(100))
		w.lines = nil
		w.store.Before = func([]store.Record) error { return errors.New("no space left") }
		if _, err := w.Restore(t.Context(), Restoration{Records: backup, Keys: w.keys}); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		w.store.Before = nil
		if len(w.eventsOf(event.Restored)) != events || slices.Contains(w.lines, said) {
			t.Errorf("told of what was not done: %q", w.lines)
		}
		w.restore(backup)
		if told := w.eventsOf(event.Restored); len(told) != events+1 || told[events].Level != event.Warning || told[events].By != audit.Admin || told[events].Keys != 3 {
			t.Errorf("events: %+v", told)
		}
		if n := len(w.Notifications(100)); n != notices+2 {
			t.Errorf("%d notifications, want 2 more than %d", n, notices)
		}
		if slices.Contains(w.lines, said) != log {
			t.Errorf("log %v: %q", log, w.lines)
		}
		w.reopen()
		if len(w.eventsOf(event.Restored)) != events+1 || len(w.Notifications(100)) != notices+2 {
			t.Error("it was not durable")
		}
	}
}

// A credential that an Envoy may have is never another secret's, and no secret's usage is lost or another's, whichever of
// them is in force when a backup is restored.
func TestRestoreKeepsCredentialsApart(t *testing.T) {
	const a, b, c = 101, 102, 103
	for name, secret := range map[string]byte{"the backup's secret": a, "the present one": b, "yet another": c} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, withSecret(threeKeys(), 0, a))
			e := w.newEnvoy()
			e.spend(today, "1.1", 10)
			w.send(e)
			backup := w.memory.Records()
			w.keys = withSecret(threeKeys(), 0, b)
			if err := w.SetKeys(t.Context(), w.keys); err != nil {
				t.Fatal(err)
			}
			e.spend(today, "1.2", 200)
			if _, err := w.Clear(t.Context(), "1", audit.Entry{}); err != nil {
				t.Fatal(err)
			}
			e.spend(today, "1.3", 3000)
			w.send(e)
			secrets := map[protocol.CredentialID]byte{"1.1": a, "1.2": b, "1.3": b}

			w.keys = withSecret(threeKeys(), 0, secret)
			w.restore(backup)
			inForce := w.key("1").Credential
			if had, known := secrets[inForce]; known && had != secret {
				t.Fatalf("%s was secret %d, and is %d now", inForce, had, secret)
			}
			w.send(e)
			want := map[byte]int64{a: 10, b: 3200, c: 0}[secret]
			if used := w.key("1").Used; used != want {
				t.Errorf("used %d, want %d", used, want)
			}
			e.spend(today, inForce, 5)
			w.send(e)
			if used := w.key("1").Used; used != want+5 {
				t.Errorf("used %d, want %d", used, want+5)
			}
			w.check()
		})
	}
}

// Where nothing is known of the time since the backup, as the store is lost, revisions go on far above it.
func TestRestoreIntoNothing(t *testing.T) {
	w := newWorld(t, withSecret(threeKeys(), 0, 101))
	e := w.newEnvoy()
	e.spend(today, "1.1", 10)
	w.send(e)
	token := w.ReportToken()
	if err := w.Audit(t.Context(), audit.Entry{What: "something"}); err != nil {
		t.Fatal(err)
	}
	backup := w.memory.Records()
	w.keys = withSecret(threeKeys(), 0, 102)
	if err := w.SetKeys(t.Context(), w.keys); err != nil { // unknown to the backup
		t.Fatal(err)
	}
	e.spend(today, "1.2", 200)
	before := w.send(e)

	w.memory = storetest.NewMemory()
	w.store.Store = w.memory
	l, err := Open(t.Context(), Options{Store: w.store, Now: w.now, Mono: w.mono})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Restore(t.Context(), Restoration{Records: backup, Audit: audit.Entry{What: "restore"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.wait(time.Second)
	w.keys = withSecret(threeKeys(), 0, 103)
	w.reopen()
	if w.ReportToken() != token || len(w.Audits(10)) != 2 {
		t.Errorf("the backup's token and audit are not there: %v", w.Audits(10))
	}
	if c := w.key("1").Credential; c == "1.1" || c == "1.2" {
		t.Errorf("%s is another secret's", c)
	}
	if w.Assignment().Epoch <= before.Epoch {
		t.Error("filters would not follow")
	}
	w.send(e)
	if used := w.key("1").Used; used != 0 {
		t.Errorf("a secret that nobody had used %d", used)
	}
	w.check()
}

// A store that was put back by hand is recognised by the first report; then, too, no credential becomes another's.
func TestStorePutBackByHand(t *testing.T) {
	w := newWorld(t, withSecret(threeKeys(), 0, 101))
	e := w.newEnvoy()
	w.send(e)
	backup := storetest.NewMemory()
	if err := backup.Commit(w.memory.Records()); err != nil {
		t.Fatal(err)
	}
	if err := w.SetKeys(t.Context(), withSecret(threeKeys(), 0, 102)); err != nil {
		t.Fatal(err)
	}
	e.spend(today, "1.2", 200)
	w.send(e)
	w.send(w.newEnvoy())
	w.send(e)
	w.memory, w.store.Store = backup, backup
	w.keys = withSecret(threeKeys(), 0, 103)
	w.reopen()
	if c := w.key("1").Credential; c != "1.2" {
		t.Fatalf("%s: the test tests nothing", c)
	}
	w.send(e)
	if c := w.key("1").Credential; c == "1.2" || w.Stats().StoreRestored != 1 {
		t.Errorf("%s is still another secret's for an Envoy", c)
	}
	w.send(e)
	if told := w.eventsOf(event.Restored); len(told) != 1 || told[0].Node != "envoy" || told[0].By != "" || told[0].Detail == "" {
		t.Errorf("events: %+v", told)
	}
	w.check()
}

func TestBadBackupsChangeNothing(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 100)
	w.send(e)
	good := w.memory.Records()
	for name, c := range map[string]struct {
		records []store.Record
		want    error
	}{
		"empty":            {nil, store.ErrForeign},
		"another program":  {[]store.Record{{Bucket: "theirs", Key: "k", Value: []byte("v")}}, store.ErrForeign},
		"a broken record":  {append(good[:len(good):len(good)], store.Record{Bucket: "gates", Key: "x", Value: []byte("{}")}), store.ErrCorrupt},
		"use of nobody's":  {append(good[:len(good):len(good)], store.Record{Bucket: "sources", Key: "2025-11-18/x/1.1", Value: []byte("{}")}), store.ErrCorrupt},
		"without the head": {good[:1], store.ErrCorrupt},
	} {
		if _, err := w.Restore(t.Context(), Restoration{Records: c.records, Keys: w.keys}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.key("1").Used != 100 {
		t.Error("it changed something")
	}
	w.check()
}

// The store fails while a backup is restored, before or after it took it: what is acknowledged later is right in any case.
func TestRestoreThatTheStoreRefused(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		w.send(e)
		backup := w.memory.Records()
		e.spend(today, "1.1", 100)
		w.send(e)
		broken := func([]store.Record) error { return errors.New("no space left") }
		if after {
			w.store.After = broken
		} else {
			w.store.Before = broken
		}
		if _, err := w.Restore(t.Context(), Restoration{Records: backup, Keys: w.keys}); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		if w.key("1").Used != 100 || w.StoreError() == nil {
			t.Error("it changed something, or nobody is told")
		}
		e.spend(today, "1.1", 10)
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) {
			t.Errorf("acknowledged: %v", err)
		}
		w.store.Before, w.store.After = nil, nil
		w.send(e)
		w.check()
		w.reopen()
		if w.key("1").Used != 110 {
			t.Errorf("after: %v: used %d", after, w.key("1").Used)
		}
	}
}

// Whenever a backup is taken and restored: once every living Envoy has reported, what they counted is there.
func TestRestoreAtAnyTime(t *testing.T) {
	for seed := range uint64(60) {
		w, r := newWorld(t, threeKeys()), rand.New(rand.NewPCG(seed, 3))
		envoys := []*envoy{w.newEnvoy(), w.newEnvoy(), w.newEnvoy()}
		var backups [][]store.Record
		for range 60 {
			e := envoys[r.IntN(len(envoys))]
			for _, k := range w.View().Keys {
				if r.IntN(2) == 0 {
					e.spend(today, k.Credential, int64(r.IntN(300)))
				}
			}
			switch r.IntN(8) {
			case 0:
				backups = append(backups, w.memory.Records())
			case 1:
				if len(backups) > 0 {
					w.restore(backups[r.IntN(len(backups))])
				}
			case 2:
				w.reopen()
			case 3:
				if _, err := w.Clear(t.Context(), fmt.Sprint(1+r.IntN(3)), audit.Entry{}); err != nil {
					t.Fatal(err)
				}
			default:
				w.send(e)
			}
			w.check()
		}
		var want int64
		for _, e := range envoys {
			w.send(e)
			for _, u := range e.window(today).Credentials {
				want += u.Models[0].Total
			}
		}
		if got := w.View().Pool.Used; got != want {
			t.Fatalf("seed %d: used %d, want %d", seed, got, want)
		}
		w.check()
	}
}
