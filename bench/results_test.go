package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// results are what one run measured.
type results struct {
	rounds int
	ways   []*way
	keys   []*way
	starts []*start
}

// text is the report, in Markdown.
func (r *results) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results\n\n`make bench` wrote this file: %d rounds on %s. README.md says how to read it.\n", r.rounds, machine())
	if len(r.ways) > 0 {
		for i, s := range shapes {
			r.shape(&b, i, s.name)
		}
	}
	if len(r.keys) > 0 {
		r.byKeys(&b)
	}
	if len(r.starts) > 0 {
		r.byStart(&b)
	}
	return b.String()
}

// titles say what each shape is.
var titles = map[string]string{
	"headers": "Header only: GET /v1/models",
	"json":    "JSON: a chat, its usage read from the answer",
	"sse":     "SSE: a streamed chat in four pieces, its usage read from the last event",
}

// shape writes the table of one shape of call.
func (r *results) shape(b *strings.Builder, i int, name string) {
	fmt.Fprintf(b, "\n## %s\n\n", titles[name])
	b.WriteString("| | calls/s, 16 conn. | ÷ raw | µs CPU/call | over raw | p50 µs, 1 conn. | over raw | p99, 1 conn. | p50, 16 conn. | p99, 16 conn. |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	base := &r.ways[raw].of[i]
	for j, w := range r.ways {
		f := &w.of[i]
		ratio, added, later := "", "", ""
		if j != direct && j != raw {
			ratio = spread(each(f.rate, base.rate, func(x, y float64) float64 { return x / y }), "%.2f")
			added = spread(each(f.cpu, base.cpu, func(x, y float64) float64 { return x - y }), "%+.1f")
			later = spread(each(f.oneMedians, base.oneMedians, func(x, y float64) float64 { return x - y }), "%+.0f")
		}
		burnt := ""
		if j != direct {
			burnt = fmt.Sprintf("%.1f", median(f.cpu))
		}
		fmt.Fprintf(b, "| %s | %.0f | %s | %s | %s | %.0f | %s | %.0f | %.0f | %.0f |\n", w.name, median(f.rate), ratio, burnt, added,
			median(f.oneMedians), later, percentile(f.one, 99), percentile(f.many, 50), percentile(f.many, 99))
	}
}

// each compares two ways round by round, as neighbours in time.
func each(v, base []float64, f func(x, y float64) float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = f(v[i], base[i])
	}
	return out
}

// spread is the median of the rounds, and between which values half of them lie.
func spread(v []float64, format string) string {
	return fmt.Sprintf(format+" ("+format+"…"+format+")", median(v), percentile(v, 25), percentile(v, 75))
}

func (r *results) byKeys(b *strings.Builder) {
	b.WriteString("\n## Keys\n\nThe JSON call, with as many keys of the same standing.\n\n| | calls/s, 16 conn. | µs CPU/call | p50 µs, 1 conn. |\n|---|---|---|---|\n")
	for _, w := range r.keys {
		f := &w.of[jsonShape]
		fmt.Fprintf(b, "| %s | %.0f | %s | %.0f |\n", w.name, median(f.rate), spread(f.cpu, "%.1f"), median(f.oneMedians))
	}
}

func (r *results) byStart(b *strings.Builder) {
	b.WriteString("\n## Start and memory\n\n| | s until the first 200 | MB, 1 worker | MB, 3 workers | MB a worker more |\n|---|---|---|---|---|\n")
	for _, s := range r.starts {
		one, three := median(s.megabytes[0]), median(s.megabytes[1])
		fmt.Fprintf(b, "| %s | %s | %.1f | %.1f | %.1f |\n", s.name, spread(s.seconds, "%.2f"), one, three, (three-one)/2)
	}
}

// machine says what the figures were measured on.
func machine() string {
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s", runtime.NumCPU(), cpu, runtime.GOOS)
}
