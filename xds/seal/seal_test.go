package seal_test

import (
	"errors"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/seal"
)

const canary = "gsk_CANARYsealed5vLq0Zb7dW1nRk8s"

func sealer(t testing.TB, masters ...string) *seal.Sealer {
	t.Helper()
	var keys []secret.Key
	for _, m := range masters {
		keys = append(keys, secret.New(m))
	}
	s, err := seal.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s *seal.Sealer, purpose string) string {
	t.Helper()
	box, err := s.Seal(purpose, secret.New(canary))
	if err != nil || strings.Contains(box, canary) {
		t.Fatalf("sealed as it is, or not at all: %v", err)
	}
	return box
}

func TestRoundTrip(t *testing.T) {
	s := sealer(t, "a master key")
	box := sealed(t, s, "key 1")
	if again := sealed(t, s, "key 1"); again == box {
		t.Error("the same box twice")
	}
	for _, other := range []*seal.Sealer{s, sealer(t, "a master key")} { // also after a restart
		if plain, current, err := other.Open("key 1", box); err != nil || !current || plain.Reveal() != canary {
			t.Errorf("opened %v, %v", current, err)
		}
	}
	if plain, _, err := s.Open("key 2", box); !errors.Is(err, seal.ErrWrongKey) || !plain.IsZero() {
		t.Errorf("opened as another's: %v", err)
	}
	if _, _, err := sealer(t, "another master key").Open("key 1", box); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("opened by another master key: %v", err)
	}
}

func TestReplacedMaster(t *testing.T) {
	box := sealed(t, sealer(t, "old"), "key 1")
	both := sealer(t, "new", "old")
	plain, current, err := both.Open("key 1", box)
	if err != nil || current || plain.Reveal() != canary {
		t.Fatalf("opened %v, %v", current, err)
	}
	anew := sealed(t, both, "key 1")
	if _, current, err := sealer(t, "new").Open("key 1", anew); err != nil || !current {
		t.Errorf("sealed anew: %v, %v", current, err)
	}
}

func TestNoMaster(t *testing.T) {
	for _, masters := range [][]secret.Key{nil, {secret.New("")}} {
		if _, err := seal.New(masters); err == nil {
			t.Error("a sealer without a master key")
		}
	}
}

// Every changed byte of a box is noticed, and nothing is opened of what is none.
func TestChangedBoxes(t *testing.T) {
	s := sealer(t, "a master key")
	box := sealed(t, s, "key 1")
	last := strings.LastIndex(box, ".") + 1
	for i := last; i < len(box); i++ { // the salt's bytes cost a derivation each
		other := byte('A')
		if box[i] == other {
			other = 'B'
		}
		changed := box[:i] + string(other) + box[i+1:]
		if plain, _, err := s.Open("key 1", changed); err == nil && plain.Reveal() != canary || err == nil && i < len(box)-1 {
			t.Errorf("opened with byte %d changed", i)
		}
	}
	for _, text := range []string{"", "kw1", "kw1...", "kw2" + box[3:], box + ".", box[:last-1], canary, "kw1.AA.AA.AA", "kw1.!.!.!"} {
		if _, _, err := s.Open("key 1", text); err == nil {
			t.Errorf("opened %q", text)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, "a master key")
	f.Add(sealed(f, s, "key 1"))
	f.Add("kw1.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAA.AA")
	f.Fuzz(func(t *testing.T, box string) {
		plain, _, err := s.Open("key 1", box)
		if err != nil && !plain.IsZero() {
			t.Error("an error and a secret")
		}
		if err == nil && plain.Reveal() != canary {
			t.Error("opened to something else")
		}
	})
}
