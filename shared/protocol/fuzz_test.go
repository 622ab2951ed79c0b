package protocol

import (
	"encoding/json"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
)

// FuzzParseBundle compares what the reader by hand takes from a Secret's bytes with what protobuf's own does.
func FuzzParseBundle(f *testing.F) {
	inline := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
	}
	for _, secrets := range []map[string]*corev3.DataSource{
		nil,
		{"1.1": inline("gsk_x")},
		{"assignment": inline(`{"v":1}`), "report-token": inline("t"), "1.1": inline(""), "2.7": {Specifier: &corev3.DataSource_InlineString{InlineString: "gsk_y"}}},
		{"file": {Specifier: &corev3.DataSource_Filename{Filename: "/x"}}, "none": {}},
	} {
		b, err := proto.Marshal(&tlsv3.Secret{Name: "k", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secrets: secrets}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseBundle(b)
		if err != nil && got != nil {
			t.Fatal("a bundle beside an error")
		}
		var secret tlsv3.Secret
		if proto.Unmarshal(b, &secret) != nil || secret.GetGenericSecret() == nil || secret.GetGenericSecret().GetSecret() != nil {
			return
		}
		// As protobuf writes it, without groups, repetitions and unknown fields, both read the same.
		plain := map[string]*corev3.DataSource{}
		for name, source := range secret.GetGenericSecret().GetSecrets() {
			plain[name] = inline(string(source.GetInlineBytes()) + source.GetInlineString()) // one of the two, or neither
		}
		secret = tlsv3.Secret{Name: secret.Name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secrets: plain}}}
		again, err := proto.Marshal(&secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = ParseBundle(again); err != nil {
			t.Fatalf("refused what protobuf writes: %v", err)
		}
		if len(got) != len(plain) {
			t.Fatalf("%d secrets, want %d", len(got), len(plain))
		}
		for name, source := range plain {
			if string(got[name]) != string(source.GetInlineBytes()) {
				t.Fatalf("%q is %q, want %q", name, got[name], source.GetInlineBytes())
			}
		}
	})
}

// FuzzParseAssignment shows that an assignment is either refused or read as encoding/json reads it, and that whatever
// the control plane can write the filter reads back.
func FuzzParseAssignment(f *testing.F) {
	f.Add([]byte(`{"v":1,"epoch":1,"generation":1,"policy":{"report_interval_ms":1},"keys":[{"id":"1","credential":"1.1"}]}`))
	f.Add([]byte(`{"v":1,"epoch":1,"generation":1,"policy":{"report_interval_ms":1,"caller_header":"x-team","use_key":true},"keys":[{"id":"1","credential":"1.1","models":["a"]}]}`))
	f.Add([]byte(`{"v":1,"epoch":2,"generation":9,"clock":{"anchor_host_ms":1,"anchor_now_ms":2,"speed":60},"policy":{"strategy":"balanced","required_tokens":100,"report_interval_ms":200,"loop_guard":true,"demo":true},` +
		`"keys":[{"id":"a.b","credential":"a.b.4294967295","priority":3,"org":"o","tier":"free","disabled":true,"limit_tokens":14400,"limit_requests":9007199254740993,"fresh":[{"window":"2025-11-18","tokens":5,"requests":-1}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAssignment(b)
		if (err == nil) == (a == nil) {
			t.Fatal("want either an assignment or an error")
		}
		if a != nil {
			sameAgain(t, a)
		}
		var written Assignment
		if json.Unmarshal(b, &written) == nil {
			written.Version = Version
			sameAgain(t, &written)
		}
	})
}

// sameAgain wants an assignment that can be used read back as it was written.
func sameAgain(t *testing.T, a *Assignment) {
	t.Helper()
	j, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAssignment(j)
	if err == nil && !cmp.Equal(a, got, cmpopts.EquateEmpty()) {
		t.Fatalf("%s\nis read as %+v", j, got)
	}
}

// FuzzParseAnswer shows the same of the answer to a report.
func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"v":1,"epoch":1,"generation":1,"now_ms":1}`))
	f.Add([]byte(`{"v":1,"epoch":1,"generation":7,"incarnation":"i","now_ms":1763467200000,"clock":{"anchor_now_ms":1},` +
		`"allowances":[{"credential":"1.1","window":"2025-11-18","tokens":14400,"requests":-1,"more":true}],` +
		`"findings":[{"credential":"1.1","org":"o","model":"m","kind":"cooling","code":"c","remaining_ms":1000,"age_ms":5}],"keys":[{"id":"1","health":99.5,"median_ms":120}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnswer(b)
		if (err == nil) == (a == nil) {
			t.Fatal("want either an answer or an error")
		}
		var written Answer
		if json.Unmarshal(b, &written) != nil {
			return
		}
		written.Version = Version
		j, err := json.Marshal(written)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseAnswer(j)
		if err == nil && !cmp.Equal(&written, got, cmpopts.EquateEmpty()) {
			t.Fatalf("%s\nis read as %+v", j, got)
		}
	})
}

// Whatever a client calls itself, or Groq a model, the report stays JSON, and says it as it was.
func FuzzReportOfACaller(f *testing.F) {
	f.Add("team-a", int64(1))
	f.Add("\"\\\u2028\x00\xff</script>", int64(-1))
	f.Fuzz(func(t *testing.T, name string, n int64) {
		said := string([]rune(name)) // what is not UTF-8 becomes U+FFFD
		want := WindowUsage{
			Callers:     []CallerUsage{{said, n, n, n, n}},
			Credentials: []CredentialUsage{{Credential: said, Attempts: map[string]int64{}, Models: []ModelUsage{{said, n, n, n, n, n}}}},
		}
		b := AppendReport(nil, &Report{Windows: []WindowUsage{{
			Callers:     []CallerUsage{{name, n, n, n, n}},
			Credentials: []CredentialUsage{{Credential: name, Models: []ModelUsage{{name, n, n, n, n, n}}}},
		}}})
		var r Report
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if d := cmp.Diff(want, r.Windows[0], cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}
