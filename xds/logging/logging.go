// Package logging makes the logger of the control plane: lines for people by default, JSON on request, with the level
// names and the times of Keywheel's account.
package logging

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// Options says how lines are written. The zero value writes plain text of level info and above, at the host's time.
type Options struct {
	Level slog.Leveler     // the least that is written; nil: info
	JSON  bool             // one JSON object a line
	Color bool             // of text; see Colorful
	Now   func() time.Time // what lines are stamped with, in UTC; nil: the time at which they were made
}

// New returns a logger that writes to w.
func New(w io.Writer, opts Options) *slog.Logger {
	if opts.Level == nil {
		opts.Level = slog.LevelInfo
	}
	var handler slog.Handler
	if opts.JSON {
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: opts.Level, ReplaceAttr: jsonAttr})
	} else {
		handler = tint.NewTextHandler(w, &tint.Options{Level: opts.Level, TimeFormat: time.RFC3339, NoColor: !opts.Color, ReplaceAttr: textAttr})
	}
	return slog.New(stamped{Handler: handler, now: opts.Now})
}

// Colorful says whether text written to w may be coloured: w is a terminal, and neither NO_COLOR nor TERM in the
// environment, whose lookup is getenv, says otherwise.
func Colorful(w io.Writer, getenv func(string) string) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// stamped puts Keywheel's time on each record.
type stamped struct {
	slog.Handler
	now func() time.Time
}

func (s stamped) Handle(ctx context.Context, r slog.Record) error {
	if s.now != nil {
		r.Time = s.now()
	}
	r.Time = r.Time.UTC()
	return s.Handler.Handle(ctx, r)
}

func (s stamped) WithAttrs(attrs []slog.Attr) slog.Handler {
	return stamped{Handler: s.Handler.WithAttrs(attrs), now: s.now}
}

func (s stamped) WithGroup(name string) slog.Handler {
	return stamped{Handler: s.Handler.WithGroup(name), now: s.now}
}

// levelName is the level as Keywheel writes it.
func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARNING"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// levelColor is the level's ANSI colour: bright red, yellow, green, and grey.
func levelColor(level slog.Level) uint8 {
	switch {
	case level >= slog.LevelError:
		return 9
	case level >= slog.LevelWarn:
		return 11
	case level >= slog.LevelInfo:
		return 10
	}
	return 8
}

func jsonAttr(groups []string, a slog.Attr) slog.Attr {
	if level, ok := builtIn(groups, a); ok {
		a.Value = slog.StringValue(levelName(level))
	}
	return a
}

func textAttr(groups []string, a slog.Attr) slog.Attr {
	if level, ok := builtIn(groups, a); ok {
		return tint.Attr(levelColor(level), slog.String(a.Key, levelName(level)))
	}
	if len(groups) == 0 && a.Key == slog.MessageKey {
		a.Value = slog.StringValue(oneLine(a.Value.String()))
	}
	return a
}

// builtIn returns the record's level if a holds it.
func builtIn(groups []string, a slog.Attr) (slog.Level, bool) {
	if len(groups) > 0 || a.Key != slog.LevelKey {
		return 0, false
	}
	level, ok := a.Value.Any().(slog.Level)
	return level, ok
}

// oneLine keeps a message that repeats foreign text from writing lines, or on a terminal, of its own.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
