package picker_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
	"keywheel/shared/selection"
)

func message(t *testing.T, c picker.Choice, fault picker.Fault, want string) {
	t.Helper()
	if c.Refusal == nil {
		t.Fatalf("key %s was picked", c.Key.ID)
	}
	if got := c.Refusal.Message(noon); c.Refusal.Fault != fault || got != want {
		t.Errorf("fault %d: %s\nwant %d: %s", c.Refusal.Fault, got, fault, want)
	}
}

func TestKeysServeTheModelsOfTheirLists(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[0].Models = []string{"small", "large"}
	a.Keys[1].Models = []string{"large"}
	b, p := granted(a), picker.New(a)
	for _, c := range []struct {
		name, model string
		need        int64
		tried       []picker.Tried
		want        string
	}{
		{"in two lists", "large", 10, nil, "1"},
		{"in two lists, after the first failed", "large", 10, []picker.Tried{{Credential: "1.1", Final: true}}, "2"},
		{"in two lists, after both failed", "large", 10, []picker.Tried{{Credential: "1.1"}, {Credential: "2.1"}}, "3"},
		{"in one list", "small", 10, nil, "1"},
		{"in one list, after it failed", "small", 10, []picker.Tried{{Credential: "1.1", Final: true}}, "3"},
		{"in no list", "other", 10, nil, "3"},
		{"a part of a name", "larg", 10, nil, "3"},
		{"in other letters", "Large", 10, nil, "3"},
		{"not seen", trail.UnknownModel, 10, nil, "3"},
		{"nothing to pay and no model", trail.UnknownModel, 0, nil, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pick(t, p, b, picker.Request{Need: c.need, Model: c.model, Tried: c.tried}); got != c.want {
				t.Errorf("key %s, want %s", got, c.want)
			}
		})
	}
	if got := pick(t, p, b, picker.Request{Need: 10, Model: "small", Blind: true}); got != "3" {
		t.Errorf("by the caller's word key %s", got)
	}
	if got := pick(t, p, b, picker.Request{Model: "small", Blind: true}); got != "1" {
		t.Errorf("by the caller's word, with nothing to pay, key %s", got)
	}
}

func TestRefusalsWhereKeysAreKeptForModels(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[0].Models = []string{"small", "?"}
	a.Keys[1].Models = []string{"large", "small"}
	a.Keys[2].Models = []string{"large"}
	b, p := granted(a), picker.New(a)
	pick := func(r picker.Request) picker.Choice { return p.Pick(b, 1, r, at) }

	message(t, pick(picker.Request{Need: 10, Model: "other"}), picker.ModelNotAllowed, "No Groq key may serve model other.")
	const unseen = "No Groq key may serve a model that cannot be seen here. It is named too late in a large body, or in one that is not JSON; keys that are kept for certain models do not take it."
	message(t, pick(picker.Request{Need: 10, Model: trail.UnknownModel}), picker.ModelNotAllowed, unseen)

	spend(b, "1.1", 1000)
	b.Learn(noon, account.Finding{Credential: "2.1", Org: "org2", Model: "small", Kind: protocol.Cooling, UntilMS: noon + 7500})
	message(t, pick(picker.Request{Need: 10, Model: "small"}), picker.NoFault,
		"All 2 Groq keys for model small are out: key 1 exhausted until 2025-11-19T00:00:00Z, key 2 cooling until 2025-11-18T12:00:08Z. Try again in 8s.")
	spend(b, "2.1", 1000)
	a.Keys[2].Disabled = true
	c := pick(picker.Request{Need: 10, Model: "large"})
	message(t, c, picker.NoFault,
		"All 2 Groq keys for model large are out: key 2 exhausted until 2025-11-19T00:00:00Z, key 3 disabled. Try again in 1m0s.")
	a.Keys[1].Models = nil
	message(t, pick(picker.Request{Need: 10, Model: trail.UnknownModel}), picker.NoFault,
		"The only Groq key for a model that cannot be seen here is out: key 2 exhausted until 2025-11-19T00:00:00Z. Try again in 12h0m.")

	b = granted(a)
	b.Update("1.1", func(e *account.Entry) bool { e.Reserve(9, 1000); return true })
	b.Update("2.1", func(e *account.Entry) bool { e.Reserve(9, 1000); return true })
	c = pick(picker.Request{Need: 10, Model: "small"})
	message(t, c, picker.NoFault, "All free tokens of the Groq keys for model small are held by requests in flight. Try again in 1s.")
	if !c.Refusal.Busy {
		t.Error("it is a wait")
	}
}

func TestOneKeyThatIsWanted(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[1].Models = []string{"llama"}
	b, p := granted(a), picker.New(a)
	r := func(only string, tried ...picker.Tried) picker.Request {
		return picker.Request{Need: 100, Model: "llama", Only: only, Tried: tried}
	}
	for _, id := range []string{"1", "2", "3"} {
		if got := pick(t, p, b, r(id)); got != id {
			t.Errorf("key %q, want %s", got, id)
		}
	}
	if c := p.Peek(b, r("2", picker.Tried{Credential: "2.1"}), at); c.Key == nil || c.Key.ID != "2" || !c.Again {
		t.Errorf("after a fault that is not its own it is tried again, and no other: %+v", c)
	}
	if c := p.Peek(b, r("2", picker.Tried{Credential: "2.1", Final: true}), at); c.Key != nil {
		t.Errorf("key %s was picked after the wanted one failed", c.Key.ID)
	}
	message(t, p.Peek(b, r("9"), at), picker.UnknownKey, "There is no Groq key 9; there is key 1, key 2, key 3.")
	message(t, p.Peek(b, r("1.1"), at), picker.UnknownKey, "There is no Groq key 1.1; there is key 1, key 2, key 3.")
	message(t, picker.New(&protocol.Assignment{}).Peek(b, r("9"), at), picker.UnknownKey, "There is no Groq key 9.")
	other := r("2")
	other.Model = "gemma"
	message(t, p.Peek(b, other, at), picker.ModelNotAllowed, "Groq key 2 may not serve model gemma.")

	spend(b, "2.1", 1000)
	c := p.Peek(b, r("2"), at)
	message(t, c, picker.NoFault,
		"The Groq key that was asked for is out: key 2 exhausted until 2025-11-19T00:00:00Z. Try again in 12h0m.")
	if c.Refusal.RetryAfter(noon) != 43200 {
		t.Errorf("retry after %d", c.Refusal.RetryAfter(noon))
	}
	b.Learn(noon, account.Finding{Credential: "3.1", Org: "org3", Model: "llama", Kind: protocol.Cooling, UntilMS: noon + 4500})
	message(t, p.Peek(b, r("3"), at), picker.NoFault, "The Groq key that was asked for is out: key 3 cooling until 2025-11-18T12:00:05Z. Try again in 5s.")
	b.Update("1.1", func(e *account.Entry) bool { e.Reserve(9, 1000); return true })
	c = p.Pick(b, 1, r("1"), at)
	message(t, c, picker.NoFault, "All free tokens of Groq key 1 are held by requests in flight. Try again in 1s.")
	a.Keys[0].Disabled = true
	message(t, p.Peek(b, r("1"), at), picker.NoFault, "The Groq key that was asked for is out: key 1 disabled. Try again in 1m0s.")
}

// A key that is kept for other models than the request's does not leave by that: it serves its own.
func TestAKeyKeptForOtherModelsStaysInUse(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[0].Models = []string{"own"}
	b, p := granted(a), picker.New(a)
	expect := func(model, key, inUse string, rotated bool) {
		t.Helper()
		c := p.Pick(b, 1, picker.Request{Need: 100, Model: model}, at)
		took := p.Takes(c) && b.Use(window, noon, c.Key.Credential, c.Leave)
		b.Update(c.Key.Credential, func(e *account.Entry) bool { e.Release(1, c.Reserve); return true })
		if c.Key.ID != key || b.InUse() != inUse || took != rotated {
			t.Errorf("model %s: key %s, in use %s, rotated %v; want %s, %s, %v", model, c.Key.ID, b.InUse(), took, key, inUse, rotated)
		}
	}
	expect("own", "1", "1.1", false)
	expect("other", "2", "1.1", false)
	expect("own", "1", "1.1", false)
	b.Learn(noon, account.Finding{Credential: "1.1", Org: "org1", Model: "own", Kind: protocol.Cooling, UntilMS: noon + 1000})
	expect("other", "2", "1.1", false)
	expect("own", "2", "2.1", true)
	b = granted(a)
	expect("own", "1", "1.1", false)
	spend(b, "1.1", 950) // 50 are left: enough for a small call of its own model
	expect("other", "2", "1.1", false)
	spend(b, "1.1", 50)
	expect("other", "2", "2.1", true) // it is out for every model
	expect("own", "2", "2.1", false)
}

// Whatever lists the keys have and whichever is wanted, what is picked may serve the model, and a refusal is true.
func TestListsAreKept(t *testing.T) {
	models := []string{"a", "b", "c", trail.UnknownModel}
	rapid.Check(t, func(t *rapid.T) {
		a := three(rapid.SampledFrom(selection.Strategies).Draw(t, "strategy"))
		for i := range a.Keys {
			a.Keys[i].Models = rapid.SliceOfNDistinct(rapid.SampledFrom(models), 0, 2, rapid.ID[string]).Draw(t, "models")
			a.Keys[i].Priority = rapid.IntRange(1, 2).Draw(t, "priority")
		}
		slices.SortStableFunc(a.Keys, func(x, y protocol.Key) int { return x.Priority - y.Priority })
		b, p := granted(a), picker.New(a)
		for _, k := range a.Keys {
			spend(b, k.Credential, rapid.SampledFrom([]int64{0, 0, 980, 1000}).Draw(t, "spent"))
		}
		r := picker.Request{
			Need: 10, Model: rapid.SampledFrom(models).Draw(t, "model"), Only: rapid.SampledFrom([]string{"", "", "1", "2", "9"}).Draw(t, "only"),
			Fixed: rapid.Bool().Draw(t, "fixed"),
		}
		may, room := map[string]bool{}, false
		for _, k := range a.Keys {
			if (r.Only == "" || r.Only == k.ID) && (len(k.Models) == 0 || r.Model != trail.UnknownModel && slices.Contains(k.Models, r.Model)) {
				may[k.ID] = true
				room = room || b.Entry(k.Credential).Room(window, nil).Free >= 10
			}
		}
		c := p.Pick(b, 1, r, at)
		switch {
		case c.Key != nil:
			if !may[c.Key.ID] {
				t.Fatalf("key %s serves %+v", c.Key.ID, r)
			}
		case room:
			t.Fatalf("%+v was refused: %s", r, c.Refusal.Message(noon))
		case r.Only == "9":
			if c.Refusal.Fault != picker.UnknownKey {
				t.Fatalf("%+v", c.Refusal)
			}
		case len(may) == 0:
			if c.Refusal.Fault != picker.ModelNotAllowed {
				t.Fatalf("%+v", c.Refusal)
			}
		default:
			if c.Refusal.Fault != picker.NoFault || len(c.Refusal.Keys) != len(may) {
				t.Fatalf("%+v, may %v", c.Refusal, may)
			}
		}
	})
}
