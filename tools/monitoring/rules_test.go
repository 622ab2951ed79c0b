package monitoring

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v3"
)

const (
	example   = "../../examples/monitoring"
	rulesFile = "keywheel.rules.yml"
	testsFile = "keywheel.rules.test.yml"
)

// rules are the alerts, read as Prometheus reads them, by name.
func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(example, rulesFile), false, model.LegacyValidation, promqlParser(), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	found := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if _, twice := found[r.Alert]; twice || r.Alert == "" {
				t.Errorf("alert %q is there twice, or has no name", r.Alert)
			}
			found[r.Alert] = r
		}
	}
	return found
}

func promqlParser() parser.Parser { return parser.NewParser(parser.Options{}) }

func TestAlertsSayWhatToDo(t *testing.T) {
	all := rules(t)
	if len(all) < 10 {
		t.Errorf("only %d alerts", len(all))
	}
	for name, r := range all {
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", name, s)
		}
		if r.Annotations["summary"] == "" || !strings.HasSuffix(r.Annotations["description"], ".") {
			t.Errorf("%s: no summary, or no description in sentences", name)
		}
		if !strings.HasPrefix(name, "Keywheel") {
			t.Errorf("%s: not to be told from others' alerts", name)
		}
	}
}

// testFile is a file of promtool's, of which this knows what keywheel.rules.test.yml uses.
type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []struct {
		Name        string         `yaml:"name"`
		Interval    model.Duration `yaml:"interval"`
		InputSeries []struct {
			Series string `yaml:"series"`
			Values string `yaml:"values"`
		} `yaml:"input_series"`
		AlertRuleTest []alertTest `yaml:"alert_rule_test"`
	} `yaml:"tests"`
}

type alertTest struct {
	EvalTime  model.Duration `yaml:"eval_time"`
	Alertname string         `yaml:"alertname"`
	ExpAlerts []alert        `yaml:"exp_alerts"`
}

// alert is one that fires.
type alert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// TestAlerts does what promtool test rules does. Building promtool itself takes many minutes.
func TestAlerts(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(example, testsFile))
	if err != nil {
		t.Fatal(err)
	}
	var file testFile
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(file.RuleFiles, []string{rulesFile}) {
		t.Fatalf("it tests %v", file.RuleFiles)
	}
	all := rules(t)
	fired, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		t.Run(test.Name, func(t *testing.T) {
			data := &memory{}
			for _, s := range test.InputSeries {
				if err := data.add(s.Series, s.Values, time.Duration(test.Interval)); err != nil {
					t.Fatalf("%s: %v", s.Series, err)
				}
			}
			for _, a := range test.AlertRuleTest {
				rule, ok := all[a.Alertname]
				if !ok {
					t.Fatalf("there is no alert %s", a.Alertname)
				}
				got := firing(t, data, rule, time.Duration(file.EvaluationInterval), time.Duration(a.EvalTime))
				sortAlerts(a.ExpAlerts)
				if diff := cmp.Diff(a.ExpAlerts, got); diff != "" {
					t.Errorf("%s at %s (-want +got)\n%s", a.Alertname, a.EvalTime, diff)
				}
				fired[a.Alertname] = fired[a.Alertname] || len(got) > 0
				silent[a.Alertname] = silent[a.Alertname] || len(got) == 0
			}
		})
	}
	for name := range all {
		if !fired[name] {
			t.Errorf("no test has %s fire", name)
		}
	}
	if len(silent) < 10 {
		t.Errorf("only %v are tried when they must not fire", silent)
	}
}

// start is when the series begin.
var start = time.Unix(0, 0).UTC()

// firing returns the alerts of a rule that fire after so long, by evaluating it from the beginning on: one that has been
// true for as long as the rule wants.
func firing(t *testing.T, data *memory, rule rulefmt.Rule, step, until time.Duration) []alert {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 100_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: promqlParser(),
	})
	defer engine.Close()
	since := map[uint64]time.Duration{}
	var fires []alert
	for at := time.Duration(0); at <= until; at += step {
		vector := instant(t, engine, data, rule.Expr, start.Add(at))
		fires = nil
		still := map[uint64]time.Duration{}
		for _, sample := range vector {
			id := sample.Metric.Hash()
			still[id] = at
			if began, ok := since[id]; ok {
				still[id] = began
			}
			if at-still[id] >= time.Duration(rule.For) {
				fires = append(fires, alertOf(t, rule, sample))
			}
		}
		since = still
	}
	sortAlerts(fires)
	return fires
}

func instant(t *testing.T, engine *promql.Engine, data *memory, expr string, at time.Time) promql.Vector {
	t.Helper()
	query, err := engine.NewInstantQuery(context.Background(), data, nil, expr, at)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer query.Close()
	vector, err := query.Exec(context.Background()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return slices.Clone(vector)
}

// alertOf is the alert of a sample: its labels but the name, those of the rule, and the texts filled in.
func alertOf(t *testing.T, rule rulefmt.Rule, sample promql.Sample) alert {
	t.Helper()
	a := alert{Labels: map[string]string{}, Annotations: map[string]string{}}
	sample.Metric.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel {
			a.Labels[l.Name] = l.Value
		}
	})
	data := template.AlertTemplateData(a.Labels, nil, "", sample)
	expand := func(text string) string {
		const names = "{{$labels := .Labels}}{{$value := .Value}}"
		expander := template.NewTemplateExpander(context.Background(), names+text, "alert", data, model.TimeFromUnixNano(start.UnixNano()),
			nil, &url.URL{}, []string{"missingkey=error"})
		out, err := expander.Expand()
		if err != nil {
			t.Fatalf("%s: %v", rule.Alert, err)
		}
		return out
	}
	for name, text := range rule.Annotations {
		a.Annotations[name] = expand(text)
	}
	for name, text := range rule.Labels {
		a.Labels[name] = expand(text)
	}
	return a
}

func sortAlerts(alerts []alert) {
	slices.SortFunc(alerts, func(a, b alert) int { return strings.Compare(fmt.Sprint(a.Labels), fmt.Sprint(b.Labels)) })
}
