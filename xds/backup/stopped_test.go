package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/config"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
)

func TestWhileItIsStopped(t *testing.T) {
	h := newHouse(t)
	h.report("1.1", 100)
	file := filepath.Join(t.TempDir(), "backup.db")
	running := &backup.Stopped{Path: h.path, Now: func() time.Time { return now }}
	if err := running.Save(file); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a store that is held: %v", err)
	}
	stopped := h.stop()
	if err := stopped.Save(file); err != nil {
		t.Fatal(err)
	}
	if err := stopped.Save(file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	h.start()
	h.report("1.1", 5000)
	if _, err := running.Restore(t.Context(), file, audit.Entry{}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a store that is held: %v", err)
	}
	epoch := h.ledger.Assignment().Epoch
	stopped = h.stop()
	stopped.Route = func(*event.Event) ledger.Route { return ledger.Route{Receivers: []string{"telegram"}} }
	kept, err := stopped.Restore(t.Context(), file, audit.Entry{Who: audit.Shell})
	if err != nil {
		t.Fatal(err)
	}
	h.start()
	h.wantUsed(100)
	if a := h.ledger.Audits(1)[0]; a.What != "restore" || a.Who != audit.Shell || h.ledger.Assignment().Epoch <= epoch {
		t.Errorf("%+v; epoch %d after %d", a, h.ledger.Assignment().Epoch, epoch)
	}
	if told := h.ledger.Notifications(1); len(told) != 1 || told[0].Event.Kind != event.Restored || told[0].Event.By != audit.Shell || told[0].State != event.Waiting {
		t.Errorf("whoever is to hear of it: %+v", told)
	}
	h.report("1.1", 5000)
	h.wantUsed(5000)
	h.stop()
	if _, err := (&backup.Stopped{Path: h.path, Now: func() time.Time { return now }}).Restore(t.Context(), kept, audit.Entry{}); err != nil {
		t.Errorf("what was kept is no backup: %v", err)
	}
}

// Whatever is in the store's place, the backup is there afterwards, and so is what was.
func TestRestoreOverADamagedStore(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":      os.Remove,
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"cut":       func(path string) error { return os.Truncate(path, 9000) },
		"a text":    func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("text\n"), 5000), 0o600) },
		"no record": rot,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.report("1.1", 100)
			file := filepath.Join(t.TempDir(), "backup.db")
			if err := os.WriteFile(file, h.backup(), 0o600); err != nil {
				t.Fatal(err)
			}
			h.report("1.1", 5000)
			stopped := h.stop()
			if err := damage(h.path); err != nil {
				t.Fatal(err)
			}
			there, _ := os.ReadFile(h.path)
			kept, err := stopped.Restore(t.Context(), file, audit.Entry{})
			if err != nil {
				t.Fatal(err)
			}
			if was, _ := os.ReadFile(kept); name != "gone" && !bytes.Equal(there, was) {
				t.Errorf("what was there is not kept in %s", kept)
			}
			h.start()
			h.wantUsed(100)
			h.report("1.1", 5000) // by a living Envoy that has the credential of before
			h.wantUsed(5000)
			if c := h.ledger.Assignment().Keys[0].Credential; c == "1.1" || c == "1.2" {
				t.Errorf("%s may be another secret's for a living Envoy", c)
			}
		})
	}
}

// rot changes a byte of a record.
func rot(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for at := range b {
		if bytes.HasPrefix(b[at:], []byte(`"epoch"`)) {
			b[at+2] ^= 1
		}
	}
	return os.WriteFile(path, b, 0o600)
}

func TestNoBackup(t *testing.T) {
	h := newHouse(t)
	stopped := h.stop()
	before, _ := os.ReadFile(h.path)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := stopped.Restore(t.Context(), text, audit.Entry{}); !errors.Is(err, backup.ErrBad) {
		t.Error(err)
	}
	if _, err := stopped.Restore(t.Context(), text+".none", audit.Entry{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	after, _ := os.ReadFile(h.path)
	if h.files() != "keywheel.db" || !bytes.Equal(before, after) {
		t.Errorf("something changed: %s", h.files())
	}
}

// Without the master key the account is opened again, once the sealed secrets are forgotten; the settings' keys serve.
func TestForgetSealed(t *testing.T) {
	h := newHouse(t)
	h.report("1.1", 100)
	added := h.addKey("gsk_CANARYadded")
	limit := int64(777)
	if _, err := h.roster.Change(t.Context(), added, roster.Patch{LimitTokens: &limit}, audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	stopped := h.stop()
	forgotten, kept, err := stopped.ForgetSealed(t.Context(), audit.Entry{Who: audit.Shell})
	if err != nil || fmt.Sprint(forgotten) != "["+added+"]" || kept == "" {
		t.Fatal(forgotten, kept, err)
	}
	if forgotten, kept, err := stopped.ForgetSealed(t.Context(), audit.Entry{}); forgotten != nil || kept != "" || err != nil {
		t.Error("again", forgotten, kept, err)
	}
	h.sealer = nil
	h.start()
	h.wantUsed(100)
	if h.used(added) != -1 {
		t.Error("a key without a secret is in force")
	}
	if a := h.ledger.Audits(1)[0]; a.What != "forget sealed secrets" || a.Who != audit.Shell || fmt.Sprint(a.Fields) != "["+added+"]" {
		t.Errorf("%+v", a)
	}
	_, err = h.roster.Configure(t.Context(), []config.Key{
		{ID: "1", Priority: 1, Org: "one", Secret: secret.New("gsk_CANARYone")}, {ID: added, Priority: 2, Org: "two", Secret: secret.New("gsk_CANARYnamed")},
	}, audit.Entry{})
	if err != nil || h.roster.Keys()[1].LimitTokens != 777 {
		t.Errorf("what was set of the key is lost: %v", err)
	}
	if names := h.files(); names != "keywheel.db "+filepath.Base(kept) {
		t.Errorf("left behind: %s", names)
	}
}
