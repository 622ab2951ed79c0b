package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/shared/quota"
	"keywheel/xds/ledger"
)

// Usage is what was taken over days, in equal steps.
type Usage struct {
	From   string        `json:"from" format:"date"`
	To     string        `json:"to" format:"date" doc:"The last day, included."`
	By     string        `json:"by" enum:"key,model,caller"`
	Step   string        `json:"step" enum:"5m,1h,1d"`
	Series []UsageSeries `json:"series" nullable:"false"`
}

// UsageSeries is what one key, model or caller took.
type UsageSeries struct {
	Name   string  `json:"name" doc:"A key's ID, or the name of a model or caller."`
	Label  *string `json:"label" doc:"Of a key that is there."`
	Points []Point `json:"points" nullable:"false" doc:"Steps in which something was taken, oldest first."`
}

// Point is one step.
type Point struct {
	At       time.Time `json:"at" doc:"When the step begins."`
	Tokens   int64     `json:"tokens" minimum:"0"`
	Requests *int64    `json:"requests" minimum:"0" doc:"Null where they are not counted: by model."`
}

type usageInput struct {
	From string `query:"from" format:"date" doc:"The first day, in UTC; left out: today."`
	To   string `query:"to" format:"date" doc:"The last day; left out: the first one."`
	By   string `query:"by" enum:"key,model,caller" default:"key"`
	Step string `query:"step" enum:"5m,1h,1d" default:"1h" doc:"5m is kept of today and yesterday; models and callers are counted by day."`
}

type usageOutput struct{ Body Usage }

type csvOutput struct {
	ContentType        string `header:"Content-Type"`
	ContentDisposition string `header:"Content-Disposition"`
	Body               []byte
}

// maxDays is the longest stretch of days that is given at once.
const maxDays = 366

func (a *api) registerUsage() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "get-usage", Method: http.MethodGet, Path: "/api/v1/usage", Tags: []string{tagAccount},
		Summary: "What was taken over time",
	}, http.StatusUnprocessableEntity), func(_ context.Context, in *usageInput) (*usageOutput, error) {
		u, err := a.usage(in)
		if err != nil {
			return nil, err
		}
		return &usageOutput{Body: *u}, nil
	})
	export := guardedOperation(huma.Operation{
		OperationID: "export-usage", Method: http.MethodGet, Path: "/api/v1/usage.csv", Tags: []string{tagAccount},
		Summary: "What was taken over time, as a table",
	}, http.StatusUnprocessableEntity)
	export.Responses = map[string]*huma.Response{"200": {
		Description: "A line for each step: at, name, label, tokens, requests",
		Content:     map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(a.huma, export, a.exportUsage)
}

func (a *api) exportUsage(_ context.Context, in *usageInput) (*csvOutput, error) {
	u, err := a.usage(in)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"at", u.By, "label", "tokens", "requests"}}
	for _, s := range u.Series {
		label := ""
		if s.Label != nil {
			label = *s.Label
		}
		for _, p := range s.Points {
			requests := ""
			if p.Requests != nil {
				requests = strconv.FormatInt(*p.Requests, 10)
			}
			rows = append(rows, []string{p.At.Format(time.RFC3339), cell(s.Name), cell(label), strconv.FormatInt(p.Tokens, 10), requests})
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return &csvOutput{
		ContentType: "text/csv; charset=utf-8", Body: b.Bytes(),
		ContentDisposition: `attachment; filename="keywheel-` + u.From + "-" + u.To + "-" + u.By + `.csv"`,
	}, nil
}

// cell is a text as it may stand in a table: spreadsheets take what begins with these signs for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// usage gathers what the query asks for.
func (a *api) usage(in *usageInput) (*Usage, error) {
	from, to, err := a.days(in)
	if err != nil {
		return nil, err
	}
	if in.By != "key" && in.Step != "1d" {
		return nil, huma.Error422UnprocessableEntity("Models and callers are counted by day: ask for step=1d.")
	}
	u := &Usage{From: from.String(), To: to.String(), By: in.By, Step: in.Step, Series: []UsageSeries{}}
	c := collection{points: map[string][]Point{}}
	for w := from; w <= to; w++ {
		switch {
		case in.By == "model":
			a.addModels(&c, w)
		case in.By == "caller":
			a.addCallers(&c, w)
		case in.Step == "5m":
			series, ok := a.Ledger.Series(w)
			if !ok {
				return nil, huma.Error422UnprocessableEntity("Steps of 5 minutes are kept of today and yesterday only: ask for step=1h.")
			}
			c.addSeries(w, series, 5*time.Minute)
		case in.Step == "1h":
			c.addSeries(w, a.Ledger.Hours(w), time.Hour)
		default:
			a.addDay(&c, w)
		}
	}
	labels := map[string]string{}
	if in.By == "key" {
		labels = a.labels()
	}
	u.Series = c.series(labels)
	return u, nil
}

// days reads which days are asked for.
func (a *api) days(in *usageInput) (from, to quota.Window, err error) {
	from = a.Ledger.View().Window
	if in.From != "" {
		if from, err = quota.ParseWindow(in.From); err != nil {
			return 0, 0, huma.Error422UnprocessableEntity("from: " + err.Error() + ".")
		}
	}
	to = from
	if in.To != "" {
		if to, err = quota.ParseWindow(in.To); err != nil {
			return 0, 0, huma.Error422UnprocessableEntity("to: " + err.Error() + ".")
		}
	}
	if to < from || to-from >= maxDays {
		return 0, 0, huma.Error422UnprocessableEntity("to must be from or later, and at most a year after it.")
	}
	return from, to, nil
}

// labels are the labels of the keys that are there, by ID.
func (a *api) labels() map[string]string {
	labels := map[string]string{}
	for _, k := range a.Ledger.View().Keys {
		labels[k.ID] = k.Label
	}
	return labels
}

// collection gathers points by name.
type collection struct{ points map[string][]Point }

func (c *collection) add(name string, p Point) {
	if p.Tokens > 0 || p.Requests != nil && *p.Requests > 0 {
		c.points[name] = append(c.points[name], p)
	}
}

func (c *collection) addSeries(w quota.Window, series map[string]ledger.Series, step time.Duration) {
	for name, s := range series {
		for i := range max(len(s.Tokens), len(s.Requests)) {
			var requests int64
			p := Point{At: w.Start().Add(time.Duration(i) * step), Requests: &requests}
			if i < len(s.Tokens) {
				p.Tokens = s.Tokens[i]
			}
			if i < len(s.Requests) {
				requests = s.Requests[i]
			}
			c.add(name, p)
		}
	}
}

// addDay adds what each key took over a day, by the account.
func (a *api) addDay(c *collection, w quota.Window) {
	s, _ := a.Ledger.Summary(w)
	for _, k := range s.Keys {
		c.add(k.ID, Point{At: w.Start(), Tokens: k.Tokens, Requests: &k.Requests})
	}
}

func (a *api) addModels(c *collection, w quota.Window) {
	s, _ := a.Ledger.Summary(w)
	for _, m := range s.Models {
		c.add(m.Name, Point{At: w.Start(), Tokens: m.Total})
	}
}

// series are the points gathered, by name; numbers in their order.
func (c *collection) series(labels map[string]string) []UsageSeries {
	out := []UsageSeries{}
	for name, points := range c.points {
		out = append(out, UsageSeries{Name: name, Label: text(labels[name]), Points: points})
	}
	slices.SortFunc(out, func(a, b UsageSeries) int {
		x, errX := strconv.Atoi(a.Name)
		y, errY := strconv.Atoi(b.Name)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

func (a *api) addCallers(c *collection, w quota.Window) {
	for _, u := range a.Ledger.Callers(w) {
		c.add(u.Caller, Point{At: w.Start(), Tokens: u.Total, Requests: &u.Requests})
	}
}
