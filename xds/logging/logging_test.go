package logging_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/slogtest"
	"time"

	"keywheel/xds/logging"
)

func noon() time.Time {
	return time.Date(2025, 11, 18, 13, 15, 0, 500e6, time.FixedZone("CET", 3600))
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	log := logging.New(&out, logging.Options{Now: noon, Level: slog.LevelDebug})
	log.Debug("Selected Groq Key 2 (Priority 2, 0% used)")
	log.Info("Groq Key 1: 1,234 tokens used (8.6%)")
	log.Warn("Groq Key 1 at 75% quota - 3,600 tokens remaining")
	log.Error("🚨 Groq Key 1: 90% quota used - near exhaustion!", "error", fmt.Errorf("two words"), "key", 1)
	log.With("node", "a").WithGroup("g").Info("grouped", "level", "x")
	log.Info("one\nline \x1b[31monly", "attr", "a\nb")
	want := `2025-11-18T12:15:00Z DEBUG Selected Groq Key 2 (Priority 2, 0% used)
2025-11-18T12:15:00Z INFO Groq Key 1: 1,234 tokens used (8.6%)
2025-11-18T12:15:00Z WARNING Groq Key 1 at 75% quota - 3,600 tokens remaining
2025-11-18T12:15:00Z ERROR 🚨 Groq Key 1: 90% quota used - near exhaustion! error="two words" key=1
2025-11-18T12:15:00Z INFO grouped node=a g.level=x
2025-11-18T12:15:00Z INFO one line  [31monly attr="a\nb"
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestColor(t *testing.T) {
	var out bytes.Buffer
	logging.New(&out, logging.Options{Now: noon, Color: true}).Warn("careful")
	if want := "\x1b[2m2025-11-18T12:15:00Z\x1b[0m \x1b[93mWARNING\x1b[0m careful\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
	unset := func(string) string { return "" }
	if logging.Colorful(&out, unset) {
		t.Error("a buffer is taken for a terminal")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if logging.Colorful(f, unset) {
		t.Error("a file is taken for a terminal")
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	logging.New(&out, logging.Options{Now: noon, JSON: true}).Warn("a\nb", "key", "2")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"time": "2025-11-18T12:15:00.5Z", "level": "WARNING", "msg": "a\nb", "key": "2"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %q", name, line[name], want)
		}
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log := logging.New(&out, logging.Options{Level: slog.LevelWarn})
	if log.Info("quiet"); out.Len() > 0 {
		t.Errorf("wrote %q", &out)
	}
	if log.Warn("loud"); out.Len() == 0 {
		t.Error("wrote nothing")
	}
}

func TestHandlerContract(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return logging.New(&out, logging.Options{JSON: true}).Handler()
	}, func(t *testing.T) map[string]any {
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line
	})
}
