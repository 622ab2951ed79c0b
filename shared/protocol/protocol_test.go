package protocol

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// filled draws a value of T with every field set at random, so that a field added to a message and forgotten in its
// encoder or parser fails the round trip.
func filled[T any](t *rapid.T) *T {
	v := new(T)
	fill(t, reflect.ValueOf(v).Elem())
	return v
}

func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, "len"), 3))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for _, k := range rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,8}`), 0, 4).Draw(t, "names") {
			m.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(rapid.Int64Range(0, 1<<53).Draw(t, "n")))
		}
		v.Set(m)
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.String(), rapid.Just("llama-3.3"), rapid.Just("<&>\"\\\u2028\x7f\n")).Draw(t, "s"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(-1, 1<<53).Draw(t, "i"))
	case reflect.Float64:
		v.SetFloat(float64(rapid.IntRange(0, 1000).Draw(t, "f")) / 8)
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "b"))
	default:
		panic(v.Kind())
	}
}

func TestReportReadsBackByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := filled[Report](t)
		var got Report
		b := AppendReport([]byte("x"), want)
		if err := json.Unmarshal(b[1:], &got); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if d := cmp.Diff(want, &got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestGateFieldsAreTheStructs(t *testing.T) {
	typ := reflect.TypeFor[GateUsage]()
	if typ.NumField() != len(gateFields) {
		t.Fatalf("%d fields, %d names", typ.NumField(), len(gateFields))
	}
	var g GateUsage
	for i, name := range gateFields {
		if tag := typ.Field(i).Tag.Get("json"); tag != name {
			t.Errorf("field %d is %s, named %s", i, tag, name)
		}
		if g.Field(i) != reflect.ValueOf(&g).Elem().Field(i).Addr().Interface().(*int64) {
			t.Errorf("Field(%d) is another field", i)
		}
	}
}

func TestAssignmentParses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := filled[Assignment](t)
		want.Version, want.Epoch, want.Generation = Version, 1+want.Epoch&0xff, 1+want.Generation&0xff
		want.Policy.RequiredTokens &= 0xffff
		want.Policy.ReportIntervalMS = 1 + want.Policy.ReportIntervalMS&0xffff
		for i := range want.Keys {
			k := &want.Keys[i]
			k.ID = string(rune('1' + i))
			k.Credential = Credential(k.ID, rapid.Uint32().Draw(t, "revision"))
			k.LimitTokens, k.LimitRequests = k.LimitTokens&0xffffff, k.LimitRequests&0xffffff
			k.Org = strings.ToValidUTF8(k.Org[:min(len(k.Org), 128)], "")
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseAssignment(b)
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		if got, err := ParseAssignment(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); err == nil || got != nil {
			t.Fatalf("a cut assignment gave %v, %v", got, err)
		}
	})
}

func TestAnswerParses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := filled[Answer](t)
		want.Version, want.Epoch, want.Generation, want.NowMS = Version, 1+want.Epoch&0xff, 1+want.Generation&0xff, 1+want.NowMS&0xffff
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseAnswer(b)
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestBadAssignments(t *testing.T) {
	const policy = `"policy":{"strategy":"priority","report_interval_ms":1000}`
	for name, b := range map[string]string{
		"empty":                ``,
		"array":                `[]`,
		"other version":        `{"v":2,"epoch":1,"generation":1,` + policy + `}`,
		"no generation":        `{"v":1,"epoch":1,` + policy + `}`,
		"no interval":          `{"v":1,"epoch":1,"generation":1,"policy":{}}`,
		"foreign credential":   `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"2.1"}]}`,
		"no revision":          `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"1"}]}`,
		"twice the same key":   `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"1.1"},{"id":"1","credential":"1.2"}]}`,
		"negative limit":       `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"1.1","limit_tokens":-5}]}`,
		"models are no list":   `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"1.1","models":"llama"}]}`,
		"a model is no name":   `{"v":1,"epoch":1,"generation":1,` + policy + `,"keys":[{"id":"1","credential":"1.1","models":["llama",7]}]}`,
		"larger than is taken": `{"v":1,"x":"` + strings.Repeat("x", MaxAssignment) + `"}`,
	} {
		if a, err := ParseAssignment([]byte(b)); err == nil || a != nil {
			t.Errorf("%s: got %v, %v", name, a, err)
		}
	}
}

func TestBundleIsAnEnvoySecret(t *testing.T) {
	source := func(s string, text bool) *corev3.DataSource {
		if text {
			return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(rapid.StringMatching(`[a-z0-9.]{1,9}`), rapid.String(), 0, 5).Draw(t, "secrets")
		g := &tlsv3.GenericSecret{Secrets: map[string]*corev3.DataSource{}}
		for k, v := range want {
			g.Secrets[k] = source(v, rapid.Bool().Draw(t, "text"))
		}
		b, err := proto.Marshal(&tlsv3.Secret{Name: "keywheel", Type: &tlsv3.Secret_GenericSecret{GenericSecret: g}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseBundle(b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d, %v", len(got), len(want), err)
		}
		for k, v := range want {
			if string(got[k]) != v {
				t.Fatalf("%q: got %q, want %q", k, got[k], v)
			}
		}
	})
}

func TestSplitCredential(t *testing.T) {
	for in, ok := range map[string]bool{"1.1": true, "team.a.12": true, "1": false, ".1": false, "1.": false, "1.01": false, "1.-1": false, "1.4294967296": false} {
		if _, _, got := SplitCredential(in); got != ok {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestClock(t *testing.T) {
	if (Clock{}).Now(5) != 5 {
		t.Error("the zero clock is the host's")
	}
	if got := (Clock{AnchorHostMS: 1000, AnchorNowMS: 50, Speed: 60}).Now(1010); got != 650 {
		t.Errorf("got %d", got)
	}
	if got := (Clock{AnchorHostMS: 1000, AnchorNowMS: 50}).Now(99999); got != 50 {
		t.Errorf("a clock of speed 0 moved to %d", got)
	}
}
