package envoy

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// logFormat is how Envoy is told to write its log; logLine reads it back.
const logFormat = "[%Y-%m-%dT%T.%e][%l][%n] %v"

var (
	logLine = regexp.MustCompile(`^\[[^\]]*\]\[(trace|debug|info|warning|error|critical)\]\[([^\]]*)\] (.*)$`)
	digits  = regexp.MustCompile(`[0-9]+`)
)

var logLevels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelDebug,
	"warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError,
}

const (
	maxLogLine  = 16 << 10 // bytes; the rest of a line is dropped
	maxRepeated = 256      // lines watched for repetition
)

// envoyLog takes Envoy's log and passes it on: warnings and errors as such, the rest at debug level. A line that comes
// again and again, only with other numbers, is passed on once in a quiet time and then counted.
type envoyLog struct {
	logger *slog.Logger
	quiet  time.Duration

	mu       sync.Mutex
	line     []byte
	level    slog.Level
	last     string // newest error
	silenced bool   // Envoy is being stopped: its warnings say so at length
	repeated map[string]*repeatedLine
}

type repeatedLine struct {
	level  slog.Level
	text   string
	source string
	times  int
	timer  *time.Timer
}

func newEnvoyLog(logger *slog.Logger, quiet time.Duration) *envoyLog {
	return &envoyLog{logger: logger, quiet: quiet, repeated: map[string]*repeatedLine{}}
}

// Write implements io.Writer.
func (l *envoyLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		head, rest, ended := bytes.Cut(b, []byte("\n"))
		if room := maxLogLine - len(l.line); room < len(head) {
			head = head[:room]
		}
		l.line = append(l.line, head...)
		if !ended {
			return n, nil
		}
		l.pass(strings.TrimRight(string(l.line), "\r"))
		l.line, b = l.line[:0], rest
	}
}

// pass takes one line. One that is not in Envoy's format continues the line before.
func (l *envoyLog) pass(line string) {
	if line == "" {
		return
	}
	source := ""
	if m := logLine.FindStringSubmatch(line); m != nil {
		l.level, source, line = logLevels[m[1]], m[2], m[3]
		if l.level >= slog.LevelError {
			l.last = line
		}
	} else if l.level >= slog.LevelError && len(l.last) < maxLogLine {
		l.last += " " + strings.TrimSpace(line)
	}
	level := l.level
	if l.silenced && level < slog.LevelError {
		level = slog.LevelDebug
	}
	if level > slog.LevelDebug && l.again(level, source, line) {
		return
	}
	l.write(level, source, line)
}

// again says whether such a line was passed on a short time ago; this one is then only counted.
func (l *envoyLog) again(level slog.Level, source, line string) bool {
	kind := digits.ReplaceAllString(line, "#")
	if r, ok := l.repeated[kind]; ok {
		r.times++
		r.text = line
		return true
	}
	if len(l.repeated) < maxRepeated {
		r := &repeatedLine{level: level, source: source}
		r.timer = time.AfterFunc(l.quiet, func() { l.sum(kind, r) })
		l.repeated[kind] = r
	}
	return false
}

// sum ends a quiet time, and says what it kept back.
func (l *envoyLog) sum(kind string, r *repeatedLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.repeated, kind)
	if r.times > 0 {
		l.write(r.level, r.source, r.text, slog.Int("times", r.times))
	}
}

func (l *envoyLog) write(level slog.Level, source, line string, attrs ...slog.Attr) {
	if source != "" {
		attrs = append(attrs, slog.String("source", source))
	}
	l.logger.LogAttrs(context.Background(), level, "Envoy: "+line, attrs...)
}

// silence makes warnings debug lines.
func (l *envoyLog) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silenced = true
}

// close ends all quiet times. lastError is the newest error that Envoy wrote.
func (l *envoyLog) close() (lastError string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) > 0 {
		l.pass(string(l.line))
		l.line = nil
	}
	for kind, r := range l.repeated {
		if r.timer.Stop() && r.times > 0 {
			l.write(r.level, r.source, r.text, slog.Int("times", r.times))
		}
		delete(l.repeated, kind)
	}
	return l.last
}
