package envoycheck_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"keywheel/xds/envoycheck"
)

// FuzzCheck wants a report of any file, whatever it is, in which lines exist and no key of it stands.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{
		"", "null", "[]", "{}", "&a [*a]", "static_resources: &a { clusters: [*a], listeners: [*a] }", "static_resources: &a\n  clusters: *a\n",
		"a: &a [1]\nb: &b [*a,*a]\nc: &c [*b,*b]\nstatic_resources: [*c,*c]", "!ignore x: 1\nstatic_resources: 3", "\x00", "---\n---\n", `{"static_resources":{"clusters":"\ud83d\ude00"}}`,
		"static_resources: { listeners: [{ filter_chains: [{ filters: [{ typed_config: { '@type': x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager } }] }] }] }",
		"static_resources: { clusters: [{ transport_socket: &t { typed_config: { transport_socket: *t } } }] }",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		assertReport(t, string(text))
	})
}

// FuzzEditedFile is FuzzCheck for good files of which some lines are replaced by something else.
func FuzzEditedFile(f *testing.F) {
	files := good(f)
	names := slices.Sorted(maps.Keys(files))
	f.Add(uint8(0), uint16(70), uint8(3), "")
	f.Add(uint8(1), uint16(110), uint8(1), "  - name: x\n  typed_config: *vm")
	f.Add(uint8(2), uint16(20), uint8(200), "static_resources: { clusters: [[{}], 3, null] }")
	f.Fuzz(func(t *testing.T, which uint8, at uint16, cut uint8, text string) {
		lines := strings.Split(files[names[int(which)%len(names)]], "\n")
		from := int(at) % len(lines)
		to := min(from+int(cut), len(lines))
		assertReport(t, strings.Join(slices.Concat(lines[:from], []string{text}, lines[to:]), "\n"))
	})
}

func assertReport(t *testing.T, text string) {
	t.Helper()
	for _, found := range envoycheck.Check([]byte(text)).Findings {
		if found.Line < 0 || found.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+2 || found.Code == "" || found.Severity == "" || found.Place == "" || found.Wrong == "" {
			t.Errorf("%+v", found)
		}
	}
}

func TestAFileThatRepeatsItselfIsReadOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := range 40 { // 2^40 elements, if each were looked at
		n, next := string(rune('a'+i/10))+string(rune('0'+i%10)), string(rune('a'+(i+1)/10))+string(rune('0'+(i+1)%10))
		b.WriteString(next + ": &" + next + " [*" + n + ", *" + n + "]\n")
	}
	b.WriteString("static_resources: { clusters: [{ vm_config: *e0 }] }\n")
	if r := envoycheck.Check([]byte(b.String())); r.Clusters != 1 {
		t.Errorf("%+v", r)
	}
}
