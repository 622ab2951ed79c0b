package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/xds/ledger"
)

// Proxy is one Envoy process that reports.
type Proxy struct {
	Incarnation string     `json:"incarnation" doc:"Names the process; made at its start."`
	Node        string     `json:"node" doc:"Envoy's node ID; several may share one."`
	Version     *string    `json:"version" doc:"Envoy's; null if it has not told by xDS."`
	Connected   bool       `json:"connected"`
	Mode        *string    `json:"mode" enum:"gate_and_attempt,gate_only" doc:"How it is set up: gate_only tries no call with a second key. Null: not reported yet."`
	Generation  int64      `json:"generation" doc:"Of the allowances that it runs, as they came with the answer to a report."`
	Config      int64      `json:"config" doc:"Generation of the assignment that it runs, as it came with keys and secrets, by xDS as a rule."`
	Rejected    int64      `json:"rejected" doc:"Assignments that it refused."`
	LastError   *string    `json:"last_error" doc:"Why it refused the newest of those; null if none."`
	FirstReport *time.Time `json:"first_report"`
	LastReport  *time.Time `json:"last_report"`
	Reports     int64      `json:"reports"`
	Voided      bool       `json:"voided" doc:"A person said that nothing of it counts; its reports are refused until it is started again."`
	LastRefused *time.Time `json:"last_refused" doc:"When a report of it was last refused because it is voided: it still ran then, and what it spends is not counted. Null: none was."`
	Quarantined int64      `json:"quarantined_tokens" minimum:"0" doc:"Of yesterday and today: tokens that it reported and that were set aside, as neither its allowance nor its requests explain them."`
	Panics      int64      `json:"panics" minimum:"0" doc:"Bugs that its filter met since it began, each of which cost a call."`
	SkewMS      int64      `json:"skew_ms" doc:"Its host's clock less ours, in milliseconds, when it last reported."`
}

type proxiesOutput struct {
	Body []Proxy `nullable:"false"`
}

func (a *api) registerProxies() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "list-proxies", Method: http.MethodGet, Path: "/api/v1/proxies", Tags: []string{tagAccount},
		Summary: "The Envoys that spend the keys",
	}), a.listProxies)
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "void-proxy", Method: http.MethodDelete, Path: "/api/v1/proxies/{incarnation}", Tags: []string{tagAccount},
		Summary: "Take out of the account what an Envoy counted", DefaultStatus: http.StatusNoContent,
		Description: "For a process whose counts cannot be right. What it counted yesterday and today is no longer in the account, its further " +
			"reports are refused, and what it might have spent is free for others. It goes on with what it was allowed until it is started again.",
	}, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable), a.voidProxy)
}

type voidInput struct {
	Incarnation string `path:"incarnation" maxLength:"64" doc:"The process, as GET /api/v1/proxies names it."`
}

func (a *api) voidProxy(ctx context.Context, in *voidInput) (*struct{}, error) {
	err := a.Ledger.Void(ctx, in.Incarnation, byCaller(ctx))
	switch {
	case err == nil:
		return nil, nil //nolint:nilnil // there is nothing to say
	case errors.Is(err, ledger.ErrNoIncarnation):
		return nil, huma.Error404NotFound("There is no such Envoy; GET /api/v1/proxies lists them.")
	}
	a.Log.Error("An Envoy could not be voided", "error", err)
	return nil, huma.Error503ServiceUnavailable("The store did not take the change; nothing was changed. Keywheel's log says why.")
}

func (a *api) listProxies(context.Context, *struct{}) (*proxiesOutput, error) {
	view := a.Ledger.View()
	proxies := make([]Proxy, 0, len(view.Proxies))
	for i := range view.Proxies {
		proxies = append(proxies, proxyOf(&view.Proxies[i]))
	}
	return &proxiesOutput{Body: proxies}, nil
}

// mode is empty for an Envoy that has not reported since we started.
func mode(p *ledger.ProxyView) string {
	switch {
	case p.Reports == 0:
		return ""
	case p.GateOnly:
		return "gate_only"
	}
	return "gate_and_attempt"
}

func proxyOf(p *ledger.ProxyView) Proxy {
	return Proxy{
		Incarnation: p.Incarnation,
		Node:        p.Node,
		Version:     text(p.Version),
		Connected:   p.Connected,
		Mode:        text(mode(p)),
		Generation:  p.Generation,
		Config:      p.Config,
		Rejected:    p.Rejected,
		LastError:   text(p.LastError),
		FirstReport: instant(p.FirstReport),
		LastReport:  instant(p.LastReport),
		Reports:     p.Reports,
		Voided:      p.Voided,
		LastRefused: instant(p.RefusedAt),
		Quarantined: p.Quarantined,
		Panics:      p.Panics,
		SkewMS:      p.SkewMS,
	}
}
