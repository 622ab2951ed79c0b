package services_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"keywheel/xds/notify"
	"keywheel/xds/notify/services"
)

// calls are what chats take for a call to people, or for a link or picture that does not show where it leads.
var calls = regexp.MustCompile(`@[\pL\pN*_]|<[!@#&:/\pL]|\]\(`)

// at is what all of these would be called by.
var at = regexp.MustCompile(`@[\pL\pN*_]|\]\(`)

const joiner = "\u2060"

func TestHarmless(t *testing.T) {
	const label = "@everyone <!channel> <@U024BE7LH> <@&1234> <users/all> <https://evil.example|status page> [docs](https://evil.example) " +
		"![](https://evil.example/p.png) <at user_id=\"all\">all</at> @**all** @room ops@example.org a<b & c>d"
	for _, e := range examples {
		w := newWorld(t, says(http.StatusOK, e.answer, nil))
		n := newNotifier(t, e.url)
		if err := n.Send(t.Context(), notify.Message{ID: "1", Subject: label, Text: label}); err != nil {
			t.Fatal(e.name, err)
		}
		if told := w.told(); !strings.Contains(told, label) {
			t.Errorf("%s: it reads otherwise: %s", e.name, told)
		}
		switch e.name {
		case "bark", "generic", "gotify", "ifttt", "join", "ntfy", "opsgenie", "pagerduty", "pushover", "signal": // no chats
			if sent := w.sent(); !strings.Contains(sent, label) {
				t.Errorf("%s: it is changed: %s", e.name, sent)
			}
			continue
		}
		for line := range strings.SplitSeq(w.sent(), "\n") {
			if found := at.FindString(line); found != "" && !strings.HasPrefix(line, "http") {
				t.Errorf("%s: %q is left in %q", e.name, found, line)
			}
		}
	}
}

func TestHarmlessReadsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"@", "<", "](", "]", "(", "&lt;", "everyone", "!here", joiner})))
		text := strings.Join(pieces.Draw(t, "text"), "")
		for _, name := range []string{"discord", "slack"} {
			got := services.Harmless(name, text)
			if found := calls.FindString(got); found != "" {
				t.Fatalf("%s: %q is left in %q", name, found, got)
			}
			if name == "slack" {
				if strings.ContainsAny(got, "<>") {
					t.Fatalf("slack gets signs of its own: %q", got)
				}
				got = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(got)
			}
			if strings.ReplaceAll(got, joiner, "") != strings.ReplaceAll(text, joiner, "") {
				t.Fatalf("%s: %q becomes %q", name, text, got)
			}
		}
	})
	if got := html.UnescapeString(services.Harmless("slack", "a<b>&amp;")); got != "a<b>&amp;" {
		t.Errorf("Slack shows %q", got)
	}
}

func TestCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		longest := rapid.IntRange(3, 60).Draw(t, "longest")
		got := services.Cut(text, longest)
		kept, short := strings.CutSuffix(got, "…")
		switch {
		case len(text) <= longest && got != text:
			t.Fatalf("%q becomes %q, though it is not too long", text, got)
		case len(text) > longest && (!short || len(got) > longest || len(got) < longest-utf8.UTFMax+1 || !strings.HasPrefix(text, kept)):
			t.Fatalf("%q becomes %q", text, got)
		case !utf8.ValidString(got):
			t.Fatalf("%q is cut inside a character", got)
		}
	})
	if got := services.Cut("any", 0); got != "any" {
		t.Errorf("a service that takes any length gets %q", got)
	}
}

// A text that is too long for the service arrives all the same, as far as it goes.
func TestLongTexts(t *testing.T) {
	for _, e := range examples {
		w := newWorld(t, says(http.StatusOK, e.answer, nil))
		n := newNotifier(t, e.url)
		long := strings.Repeat("🔑 line\n", 10_000)
		if err := n.Send(t.Context(), notify.Message{ID: "1", Subject: strings.Repeat("⚡", 10_000), Text: long}); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
		told := w.told()
		for _, title := range regexp.MustCompile("⚡+…?").FindAllString(told, -1) {
			if n.LongestTitle() > 0 && len(title) > n.LongestTitle() {
				t.Errorf("%s: a title of %d bytes", e.name, len(title))
			}
		}
		if !utf8.ValidString(told) {
			t.Errorf("%s: a character is cut", e.name)
		}
		if lines := strings.Count(told, "line"); lines == 0 || n.MaxText() > 0 && lines*len("🔑 line\n") > n.MaxText() {
			t.Errorf("%s: %d lines arrive, for a text of %d bytes", e.name, lines, n.MaxText())
		}
	}
}

// A subject with line breaks is one line: ntfy gets it as a header.
func TestSubjectIsOneLine(t *testing.T) {
	host, got := serve(t, http.StatusOK, "{}", nil)
	n := newNotifier(t, "ntfy://"+host+"/topic?scheme=http")
	if err := n.Send(t.Context(), notify.Message{ID: "1", Subject: "a\r\nX-Evil: 1\nb\x00c", Text: "t"}); err != nil {
		t.Fatal(err)
	}
	if all := got(); len(all) != 1 || all[0].Title != "a  X-Evil: 1 b c" {
		t.Errorf("it is told %q", all)
	}
}
