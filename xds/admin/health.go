package admin

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

type healthBody struct {
	Status string `json:"status" enum:"ok" doc:"The process answers."`
}

type healthOutput struct{ Body healthBody }

type readyBody struct {
	Ready   bool     `json:"ready" doc:"The store is open and xDS listens."`
	Missing []string `json:"missing" nullable:"false" doc:"What is still to come, when not ready."`
}

type readyOutput struct {
	Status int
	Body   readyBody
}

func (a *api) registerHealth() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Tags: []string{tagHealth},
		Summary: "Whether the process lives", Errors: []int{http.StatusInternalServerError},
	}, func(context.Context, *struct{}) (*healthOutput, error) {
		return &healthOutput{Body: healthBody{Status: "ok"}}, nil
	})

	ready := huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{tagHealth},
		Summary: "Whether Envoys can be served", Errors: []int{http.StatusInternalServerError},
	}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[readyBody](), true, "ReadyBody")
	ready.Responses = map[string]*huma.Response{"503": {
		Description: "Not ready: something is missing",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}}
	huma.Register(a.huma, ready, func(context.Context, *struct{}) (*readyOutput, error) {
		missing := a.Missing()
		if len(missing) == 0 {
			return &readyOutput{Status: http.StatusOK, Body: readyBody{Ready: true, Missing: []string{}}}, nil
		}
		return &readyOutput{Status: http.StatusServiceUnavailable, Body: readyBody{Missing: missing}}, nil
	})
}
