package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

var now = time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC)

const window = "2025-11-18"

// house is a control plane's account and keys over a real file.
type house struct {
	*testing.T
	path   string
	store  *bolt.Store
	ledger *ledger.Ledger
	roster *roster.Roster
	live   *backup.Live
	seq    int64
	sealer *seal.Sealer
}

func newHouse(t *testing.T) *house {
	t.Helper()
	sealer, err := seal.New([]secret.Key{secret.New("a master key of this test")})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, path: filepath.Join(t.TempDir(), "keywheel.db"), sealer: sealer}
	h.start()
	t.Cleanup(func() { _ = h.ledger.Close() })
	return h
}

func (h *house) start() {
	h.Helper()
	var err error
	if h.store, err = bolt.Open(h.path, bolt.Options{}); err != nil {
		h.Fatal(err)
	}
	h.ledger, err = ledger.Open(h.Context(), ledger.Options{Store: h.store, Now: func() time.Time { return now }, Policy: protocol.Policy{ReportIntervalMS: 1000}})
	if err != nil {
		h.Fatal(err)
	}
	h.roster, err = roster.Open(h.Context(), roster.Options{
		Account: h.ledger, Sealer: h.sealer, Log: slog.New(slog.DiscardHandler),
		Configured: []config.Key{{ID: "1", Priority: 1, Org: "one", LimitTokens: 14400, Secret: secret.New("gsk_CANARYone")}},
	})
	if err != nil {
		h.Fatal(err)
	}
	h.live = backup.NewLive(backup.Live{
		Store: h.store, Audit: h.ledger.Audit, Now: func() time.Time { return now },
		Restore: func(ctx context.Context, records []store.Record, by audit.Entry) (int64, error) {
			return h.roster.Restore(ctx, h.ledger, records, by)
		},
	})
}

func (h *house) stop() *backup.Stopped {
	h.Helper()
	if err := h.ledger.Close(); err != nil {
		h.Fatal(err)
	}
	return &backup.Stopped{Path: h.path, Now: func() time.Time { return now }}
}

// report is an Envoy's that used so much of a key since it began.
func (h *house) report(c protocol.CredentialID, tokens int64) {
	h.Helper()
	h.seq++
	_, err := h.ledger.Apply(h.Context(), ledger.Peer{ConnID: 1, Local: true}, &protocol.Report{
		Version: protocol.Version, Node: "n", Incarnation: "019a9564-7c00-7000-8000-000000000001", Seq: h.seq,
		Windows: []protocol.WindowUsage{{Window: window, Credentials: []protocol.CredentialUsage{{
			Credential: c, Requests: 1, Attempts: map[string]int64{"ok": 1}, Models: []protocol.ModelUsage{{Model: "m", Total: tokens}},
		}}}},
	})
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) used(id string) int64 {
	for _, k := range h.ledger.View().Keys {
		if k.ID == id {
			return k.Used
		}
	}
	return -1
}

func (h *house) wantUsed(want int64) {
	h.Helper()
	if used := h.used("1"); used != want {
		h.Errorf("used %d, want %d", used, want)
	}
}

func (h *house) backup() []byte {
	h.Helper()
	r, size, err := h.live.Open(h.Context(), audit.Entry{Who: audit.Admin})
	if err != nil {
		h.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(b)) != size {
		h.Fatalf("%d bytes of %d, %v", len(b), size, err)
	}
	return b
}

// files are those beside the store.
func (h *house) files() string {
	h.Helper()
	entries, err := os.ReadDir(filepath.Dir(h.path))
	if err != nil {
		h.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (h *house) addKey(plain string) string {
	h.Helper()
	id, _, err := h.roster.Add(h.Context(), "", roster.Patch{Secret: secret.New(plain)}, audit.Entry{Who: audit.Admin})
	if err != nil {
		h.Fatal(err)
	}
	return id
}

func TestWhileItRuns(t *testing.T) {
	h := newHouse(t)
	h.report("1.1", 100)
	added := h.addKey("gsk_CANARYadded")
	old := h.backup()
	if bytes.Contains(old, []byte("CANARY")) {
		t.Error("a secret is in the backup")
	}
	h.report("1.1", 5000)
	if _, err := h.roster.Remove(t.Context(), added, audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	generation, kept, err := h.live.Take(t.Context(), bytes.NewReader(old), audit.Entry{Who: audit.Admin})
	if err != nil || generation == 0 {
		t.Fatal(generation, err)
	}
	h.wantUsed(100)
	credential := h.ledger.Assignment().Keys[1].Credential
	if s := h.roster.Secrets()[credential]; !s.Equal(secret.New("gsk_CANARYadded")) {
		t.Error("the key that the backup has is not in force with its secret")
	}
	h.report("1.1", 5000) // what the Envoy counted comes back
	h.wantUsed(5000)
	if want := "keywheel.db keywheel.db.replaced-20251118T100000Z"; h.files() != want || kept != h.path+".replaced-20251118T100000Z" {
		t.Errorf("%s; kept in %s", h.files(), kept)
	}
	var said []string
	for _, e := range h.ledger.Audits(3) {
		said = append(said, e.What)
	}
	if got := strings.Join(said, ", "); got != "restore, remove key, back up" {
		t.Errorf("the audit has %s", got)
	}
	before, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept, err = h.live.Take(t.Context(), bytes.NewReader(before), audit.Entry{}); err != nil || !strings.HasSuffix(kept, "-2") {
		t.Error(kept, err)
	}
	h.stop()
	h.start() // all of it was durable
	h.wantUsed(5000)
	if h.used(added) != -1 {
		t.Error("the removed key is back")
	}
}

func TestBadFilesChangeNothing(t *testing.T) {
	h := newHouse(t)
	good := h.backup()
	h.report("1.1", 100)
	flipped := bytes.Clone(good)
	for at := range good { // wherever the record stands: not all pages of the file are in use
		if bytes.HasPrefix(good[at:], []byte(`"epoch"`)) {
			flipped[at+1] ^= 1
		}
	}
	if bytes.Equal(flipped, good) {
		t.Fatal("the backup has no such record")
	}
	for name, content := range map[string][]byte{
		"empty": {}, "text": bytes.Repeat([]byte("no backup\n"), 1000), "cut": good[:9000], "flipped": flipped,
	} {
		_, _, err := h.live.Take(t.Context(), bytes.NewReader(content), audit.Entry{})
		if !errors.Is(err, backup.ErrBad) || strings.Contains(err.Error(), h.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := h.live.Take(t.Context(), io.MultiReader(bytes.NewReader(good[:5000]), &cut{}), audit.Entry{})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut on the way: %v", err)
	}
	h.wantUsed(100)
	if h.files() != "keywheel.db" {
		t.Errorf("left behind: %s", h.files())
	}
}

type cut struct{}

func (*cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A backup whose secrets cannot be opened is refused before anything is changed.
func TestBackupSealedByAnother(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	h.report("1.1", 100)
	other.addKey("gsk_CANARYelsewhere")
	foreign := other.backup()
	sealer, err := seal.New([]secret.Key{secret.New("a master key of others")})
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.sealer = sealer
	h.start()
	if _, _, err := h.live.Take(t.Context(), bytes.NewReader(foreign), audit.Entry{}); !errors.Is(err, roster.ErrSealed) {
		t.Errorf("sealed by another: %v", err)
	}
	h.wantUsed(100)
	if h.files() != "keywheel.db" {
		t.Errorf("left behind: %s", h.files())
	}
}

func TestOneAtATime(t *testing.T) {
	h := newHouse(t)
	good := h.backup()
	reading, goOn := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, _, err := h.live.Take(context.Background(), io.MultiReader(&gate{reading, goOn}, bytes.NewReader(good)), audit.Entry{})
		done <- err
	}()
	<-reading
	if _, _, err := h.live.Open(t.Context(), audit.Entry{}); !errors.Is(err, backup.ErrBusy) {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// gate is a reader of nothing, that says when it is read and waits.
type gate struct{ reading, goOn chan struct{} }

func (g *gate) Read([]byte) (int, error) {
	close(g.reading)
	<-g.goOn
	return 0, io.EOF
}
