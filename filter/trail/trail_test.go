package trail

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringN(0, 40, 200)
		want := Trail{Incarnation: s.Draw(t, "incarnation"), Model: s.Draw(t, "model"), Need: rapid.Int64().Draw(t, "need"), Prompt: rapid.Int64().Draw(t, "prompt")}
		want.Call = rapid.Uint64().Draw(t, "call")
		want.Only = rapid.SampledFrom([]string{"", "2", "team.a"}).Draw(t, "only")
		for range rapid.IntRange(0, 7).Draw(t, "tries") {
			want.Tries = append(want.Tries, Try{
				Credential: s.Draw(t, "credential"), VM: rapid.Uint32().Draw(t, "vm"),
				Reserved: rapid.Int64().Draw(t, "reserved"), State: State(rapid.Byte().Draw(t, "state")),
			})
		}
		b := want.Append(nil)
		got, ok := Parse(b)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); !ok || d != "" {
			t.Fatal(ok, d)
		}
		head := Trail{Call: want.Call, Incarnation: want.Incarnation, Model: want.Model, Need: want.Need, Prompt: want.Prompt, Only: want.Only}
		if cut := rapid.IntRange(0, len(head.Append(nil))-1).Draw(t, "cut"); cut > 0 {
			if got, ok := Parse(b[:cut]); ok {
				t.Fatalf("a cut trail read as %+v", got)
			}
		}
	})
}

// A trail has the oldest form that can say it, which an older module reads.
func TestOldestForm(t *testing.T) {
	if b := (&Trail{Incarnation: "i"}).Append(nil); b[0] != 1 {
		t.Errorf("form %d", b[0])
	}
	if b := (&Trail{Incarnation: "i", Only: "2"}).Append(nil); b[0] != 2 {
		t.Errorf("form %d", b[0])
	}
	if b := (&Trail{Incarnation: "i", Call: 1}).Append(nil); b[0] != 3 {
		t.Errorf("form %d", b[0])
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Trail{Incarnation: "i", Tries: []Try{{Credential: "1.1"}}}).Append(nil))
	f.Add((&Trail{Incarnation: "i", Only: "2"}).Append(nil))
	f.Add((&Trail{Incarnation: "i", Call: 1}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := Parse(b)
		if !ok {
			return
		}
		again, ok := Parse(got.Append(nil))
		if !ok || !cmp.Equal(got, again) {
			t.Fatal("no round trip")
		}
	})
}
