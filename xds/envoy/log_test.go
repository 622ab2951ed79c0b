package envoy

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lines collects a log as "LEVEL message {attributes}".
type lines struct{ strings.Builder }

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestEnvoyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := newEnvoyLog(out.logger(), 10*time.Second)
		write := func(s string) {
			for len(s) > 0 { // in pieces, as a pipe may give them
				n := min(7, len(s))
				if _, err := l.Write([]byte(s[:n])); err != nil {
					t.Fatal(err)
				}
				s = s[n:]
			}
		}
		write("[2026-01-02T03:04:05.678][info][main] starting\n[2026-01-02T03:04:05.678][critical][config] bad\nmore of it\n")
		for i := range 5 {
			write(fmt.Sprintf("[t][warning][config] stream closed since %ds ago\n", i))
		}
		<-time.After(11 * time.Second)
		synctest.Wait()
		write("[t][warning][config] stream closed since 20s ago\n[t][error][x] in two\n  lines\n[t][error][x] unterminated")
		l.silence()
		write(" line\n[t][warning][main] caught SIGTERM")
		if last := l.close(); last != "unterminated line" {
			t.Errorf("last error %q", last)
		}
		want := `level=DEBUG msg="Envoy: starting" source=main
level=ERROR msg="Envoy: bad" source=config
level=ERROR msg="Envoy: more of it"
level=WARN msg="Envoy: stream closed since 0s ago" source=config
level=WARN msg="Envoy: stream closed since 4s ago" times=4 source=config
level=WARN msg="Envoy: stream closed since 20s ago" source=config
level=ERROR msg="Envoy: in two" source=x
level=ERROR msg="Envoy:   lines"
level=ERROR msg="Envoy: unterminated line" source=x
level=DEBUG msg="Envoy: caught SIGTERM" source=main
`
		if out.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
		}
	})
}

func TestEnvoyLogIsBounded(t *testing.T) {
	var out lines
	l := newEnvoyLog(out.logger(), time.Hour)
	long := strings.Repeat("x", 3*maxLogLine)
	if n, err := l.Write([]byte(long)); n != len(long) || err != nil || len(l.line) > maxLogLine {
		t.Errorf("%d, %v, holds %d", n, err, len(l.line))
	}
	_, _ = l.Write([]byte("\n"))
	for i := range 2 * maxRepeated {
		_, _ = fmt.Fprintf(l, "[t][warning][a] line %s\n", strings.Repeat("a", i+1))
	}
	if len(l.repeated) > maxRepeated {
		t.Errorf("watches %d lines", len(l.repeated))
	}
	l.close()
}
