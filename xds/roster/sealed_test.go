package roster_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

// records are what the store has, as text.
func (h *house) records() string {
	var b strings.Builder
	for _, r := range h.memory.Records() {
		b.WriteString(r.Bucket + " " + r.Key + " " + string(r.Value) + "\n")
	}
	return b.String()
}

// TestStoredSealed looks for secrets in all that is kept and logged, whatever was done with them.
func TestStoredSealed(t *testing.T) {
	h := newHouse(t)
	names := []string{"A", "B", "C", "D", "E", "F"}
	var kept, said strings.Builder
	look := func() {
		kept.WriteString(h.records())
		said.WriteString(h.log.String())
	}
	h.added("", roster.Patch{Secret: hidden("D")})
	look()
	h.changed("1", all("E"))
	look()
	h.changed("1", roster.Patch{Secret: hidden("F")})
	h.removed("2")
	h.removed("4")
	look()
	h.added("4", roster.Patch{Secret: hidden("D")})
	_, _, _ = h.Add(t.Context(), "", roster.Patch{Secret: hidden("F")}, admin)
	h.sealer = sealerOf(t, "two", "one")
	h.reopen()
	look()
	leakless(t, "the store", kept.String(), names...)
	leakless(t, "the log", said.String(), names...)
	for _, master := range []string{"master key one", "master key two"} {
		if strings.Contains(kept.String()+said.String(), master) {
			t.Error("a master key is kept or logged")
		}
	}
}

// boxes are the sealed secrets in the store, by key ID.
func (h *house) boxes() map[string]string {
	h.Helper()
	var edits map[string]struct {
		Box string `json:"box"`
	}
	if err := json.Unmarshal(h.ledger.Document("keys"), &edits); err != nil {
		h.Fatal(err)
	}
	out := map[string]string{}
	for id, e := range edits {
		if e.Box != "" {
			out[id] = e.Box
		}
	}
	return out
}

// TestAnotherMasterKey seals everything anew under a new one that is named before the old one, which is then not needed.
func TestAnotherMasterKey(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	h.changed("1", roster.Patch{Secret: hidden("E")})
	old := h.boxes()
	h.sealer = sealerOf(t, "two", "one")

	empty := h.fill() // the store takes nothing: all stays under the old one
	if err := h.tryReopen(); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	empty()
	if strings.Contains(h.log.String(), "sealed") {
		t.Error("it says that it sealed anew, and did not")
	}
	h.reopen()
	h.inForce("4", "D")
	h.inForce("1", "E")
	anew := h.boxes()
	if len(anew) != 2 || anew["1"] == old["1"] || anew["4"] == old["4"] {
		t.Error("boxes were not sealed anew")
	}
	if !strings.Contains(h.log.String(), `msg="Secrets are sealed under the new master key" secrets=2`) {
		t.Errorf("logged: %s", &h.log)
	}
	for _, again := range []*seal.Sealer{sealerOf(t, "two", "one"), sealerOf(t, "two")} {
		h.log.Reset()
		h.sealer = again
		h.reopen()
		h.inForce("4", "D")
		h.inForce("1", "E")
		if h.boxes()["4"] != anew["4"] || strings.Contains(h.log.String(), "sealed") {
			t.Errorf("sealed once more: %s", &h.log)
		}
	}
	h.sealer = sealerOf(t, "one")
	if err := h.tryReopen(); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the old one opens what was sealed anew: %v", err)
	}
}

// TestStartWithoutTheMasterKey refuses to start, says why, and leaves the store as it is.
func TestStartWithoutTheMasterKey(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	before := h.records()
	for name, c := range map[string]struct {
		sealer *seal.Sealer
		says   string
	}{
		"none":    {nil, "KEYWHEEL_MASTER_KEY: the secret of Groq Key 4 is sealed in the store, and no master key is set; set the one that sealed it"},
		"another": {sealerOf(t, "three"), "KEYWHEEL_MASTER_KEY: the secret of Groq Key 4, sealed in the store, cannot be opened: no master key opens it; set the master key that sealed it"},
	} {
		h.sealer = c.sealer
		err := h.tryReopen()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil {
			leakless(t, name, err.Error(), "A", "B", "C", "D")
		}
		if h.records() != before {
			t.Errorf("%s: the store was changed", name)
		}
	}
	h.sealer = sealerOf(t, "one")
	h.reopen()
	h.inForce("4", "D")
	h.sealer = nil
	if err := h.tryReopen(); err == nil {
		t.Error("it starts without")
	}
	h.sealer = sealerOf(t, "one")
	h.reopen()
	h.removed("4")
	h.sealer = nil
	h.reopen() // nothing is sealed any more
	if got := h.ids(); got != "1 2 3" {
		t.Errorf("left: %s", got)
	}
}

// TestMovedBoxes shows that whoever writes in the store cannot have one key's secret used as another's.
func TestMovedBoxes(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	document := string(h.ledger.Document("keys"))
	for name, changed := range map[string]string{
		"another key's": strings.Replace(document, `"4":`, `"5":`, 1),
		"changed":       strings.Replace(document, `"box":"kw1.`, `"box":"kw2.`, 1),
		"not sealed":    strings.Replace(document, h.boxes()["4"], text("D"), 1),
	} {
		if changed == document {
			t.Fatalf("%s: nothing was changed", name)
		}
		h.tamper(changed)
		err := h.tryReopen()
		if err == nil || !strings.Contains(err.Error(), "cannot be opened") {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil {
			leakless(t, name, err.Error(), "D")
		}
	}
	h.tamper(`[]`)
	if err := h.tryReopen(); err == nil || !strings.Contains(err.Error(), "reading the keys that were changed by the API") {
		t.Errorf("no document: got %v", err)
	}
}

// tamper puts another document into the store.
func (h *house) tamper(document string) {
	h.Helper()
	if err := h.memory.Commit([]store.Record{{Bucket: "documents", Key: "keys", Value: []byte(document)}}); err != nil {
		h.Fatal(err)
	}
}
