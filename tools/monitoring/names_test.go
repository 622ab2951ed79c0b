package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// exposition is what the control plane answers to a scrape, which xds/metrics holds it to.
const exposition = "../../xds/metrics/testdata/metrics.txt"

// others are metrics that are there beside, of the process and of the scrape.
var others = []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}

// attached are the labels that a scrape adds.
var attached = []string{"job", "instance"}

// exposed is the series that there are, by metric.
func exposed(t *testing.T) map[string][]labels.Labels {
	t.Helper()
	content, err := os.ReadFile(exposition)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]labels.Labels{}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series, err := promqlParser().ParseMetric(line[:strings.LastIndex(line, " ")])
		if err != nil {
			t.Fatal(err)
		}
		name := series.Get(model.MetricNameLabel)
		found[name] = append(found[name], series)
	}
	if len(found) < 40 {
		t.Fatalf("%d metrics", len(found))
	}
	for _, name := range others {
		found[name] = append(found[name], labels.FromStrings(model.MetricNameLabel, name))
	}
	return found
}

// expression is where one stands, and what it says.
type expression struct{ where, expr, legend string }

// expressions are those of rules and dashboard.
func expressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for name, r := range rules(t) {
		all = append(all, expression{where: name, expr: r.Expr, legend: r.Annotations["summary"]})
	}
	for p, queries := range panels(t) {
		for _, q := range queries {
			all = append(all, expression{where: *p.Title, expr: q.Expr, legend: *q.LegendFormat})
		}
	}
	return all
}

var (
	variables = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h")
	inLegend  = regexp.MustCompile(`{{\s*(?:\$labels\.)?([a-z_]+)\s*}}`)
)

// TestExpressionsNameWhatThereIs parses each expression and looks for its metrics, labels and labels' values in what the
// control plane exposes.
func TestExpressionsNameWhatThereIs(t *testing.T) {
	series := exposed(t)
	shown := map[string]bool{}
	for _, e := range expressions(t) {
		parsed, err := promqlParser().ParseExpr(variables.Replace(e.expr))
		if err != nil {
			t.Errorf("%s: %v", e.where, err)
			continue
		}
		known := slices.Clone(attached)
		var named []string
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			switch n := node.(type) {
			case *parser.VectorSelector:
				shown[n.Name] = true
				known = append(known, selected(t, e, n, series)...)
			case *parser.AggregateExpr:
				named = append(named, n.Grouping...)
			case *parser.BinaryExpr:
				if n.VectorMatching != nil {
					named = append(named, n.VectorMatching.MatchingLabels...)
				}
			}
			return nil
		})
		for _, match := range inLegend.FindAllStringSubmatch(e.legend, -1) {
			named = append(named, match[1])
		}
		for _, label := range named {
			if !slices.Contains(known, label) {
				t.Errorf("%s: %s has no label %s", e.where, e.expr, label)
			}
		}
	}
	for name := range series {
		if !shown[name] {
			t.Errorf("%s is neither on the dashboard nor in a rule", name)
		}
	}
}

// selected checks that a selector can select something, and returns the labels that it may have.
func selected(t *testing.T, e expression, n *parser.VectorSelector, all map[string][]labels.Labels) []string {
	t.Helper()
	series, ok := all[n.Name]
	if !ok {
		t.Errorf("%s: there is no metric %s", e.where, n.Name)
		return nil
	}
	var known []string
	series[0].Range(func(l labels.Label) { known = append(known, l.Name) })
	for _, m := range n.LabelMatchers {
		if slices.Contains(attached, m.Name) {
			continue
		}
		if !slices.ContainsFunc(series, func(s labels.Labels) bool { return s.Has(m.Name) && m.Matches(s.Get(m.Name)) }) {
			t.Errorf("%s: no %s has %s", e.where, n.Name, m)
		}
		for _, word := range alternatives(m) {
			if !slices.ContainsFunc(series, func(s labels.Labels) bool { return s.Get(m.Name) == word }) {
				t.Errorf("%s: no %s has %s=%q", e.where, n.Name, m.Name, word)
			}
		}
	}
	return known
}

// alternatives are the values that a matcher names.
func alternatives(m *labels.Matcher) []string {
	if m.Name == model.MetricNameLabel {
		return nil
	}
	return strings.Split(m.Value, "|")
}

var metricName = regexp.MustCompile(`\bkeywheel_[a-z_]+`)

// TestTextsNameWhatThereIs looks at metrics that are named in prose and in the dashboard's variables.
func TestTextsNameWhatThereIs(t *testing.T) {
	series := exposed(t)
	for _, file := range []string{"README.md", "keywheel.dashboard.json", testsFile} {
		content, err := os.ReadFile(filepath.Join(example, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(content), -1) {
			if series[name] == nil {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
}
