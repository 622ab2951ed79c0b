package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// classic is the format that every Grafana imports; the one after it is new in Grafana 12.
type classic = dashboard.Dashboard //nolint:staticcheck // see above

// board reads the dashboard as Grafana's own types have it: a field that they do not know is an error.
func board(t *testing.T) *classic {
	t.Helper()
	runtime := cog.NewRuntime()
	for _, panel := range []variants.PanelcfgConfig{
		bargauge.VariantConfig(), stat.VariantConfig(), statetimeline.VariantConfig(), table.VariantConfig(), timeseries.VariantConfig(),
	} {
		runtime.RegisterPanelcfgVariant(panel)
	}
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	content, err := os.ReadFile(filepath.Join(example, "keywheel.dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Where nothing is wrong the strict reading returns an empty list of errors, and has lost the panels on the way.
	if err := new(classic).UnmarshalJSONStrict(content); err != nil && err.Error() != "" {
		t.Fatal(err)
	}
	var b classic
	if err := json.Unmarshal(content, &b); err != nil {
		t.Fatal(err)
	}
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// panels are those that show something, with their queries.
func panels(t *testing.T) map[*dashboard.Panel][]*prometheus.Dataquery {
	t.Helper()
	found := map[*dashboard.Panel][]*prometheus.Dataquery{}
	for _, p := range board(t).Panels {
		if p.Panel == nil {
			continue
		}
		found[p.Panel] = nil
		for _, target := range p.Panel.Targets {
			q, ok := target.(*prometheus.Dataquery)
			if value, plain := target.(prometheus.Dataquery); plain {
				q, ok = &value, true
			}
			if !ok {
				t.Fatalf("%s asks %T", *p.Panel.Title, target)
			}
			found[p.Panel] = append(found[p.Panel], q)
		}
	}
	return found
}

func TestDashboard(t *testing.T) {
	b := board(t)
	if b.Uid == nil || *b.Uid == "" || b.Title == nil || *b.Title == "" || b.Id != nil {
		t.Error("it needs a uid and a title, and no id, which each Grafana gives by itself")
	}
	ids, cells := map[uint32]string{}, map[[2]uint32]string{}
	place := func(id uint32, title string, at *dashboard.GridPos) {
		if other, twice := ids[id]; twice {
			t.Errorf("%s and %s are both number %d", other, title, id)
		}
		ids[id] = title
		if at.X+at.W > 24 || at.W == 0 || at.H == 0 {
			t.Errorf("%s is not on the grid: %+v", title, *at)
		}
		for x := range at.W {
			for y := range at.H {
				cell := [2]uint32{at.X + x, at.Y + y}
				if other := cells[cell]; other != "" {
					t.Fatalf("%s lies over %s", title, other)
				}
				cells[cell] = title
			}
		}
	}
	for _, p := range b.Panels {
		if p.RowPanel != nil {
			place(p.RowPanel.Id, *p.RowPanel.Title, p.RowPanel.GridPos)
			continue
		}
		place(*p.Panel.Id, *p.Panel.Title, p.Panel.GridPos)
	}
	const chosen = "${datasource}"
	all := panels(t)
	for p, queries := range all {
		if p.Datasource == nil || *p.Datasource.Uid != chosen || len(queries) == 0 || p.Description == nil || *p.Description == "" {
			t.Errorf("%s has no query, no description, or a data source of one Grafana's", *p.Title)
		}
		refs := map[string]bool{}
		for _, q := range queries {
			if refs[*q.RefId] || q.Datasource == nil || *q.Datasource.Uid != chosen {
				t.Errorf("%s: query %s is there twice, or asks one Grafana's data source", *p.Title, *q.RefId)
			}
			refs[*q.RefId] = true
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d panels", len(all))
	}
	if got := fmt.Sprint(b.Templating.List[0].Name, b.Templating.List[1].Name); got != "datasourceinstance" {
		t.Errorf("the variables are %s", got)
	}
}
