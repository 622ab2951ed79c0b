package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Clock is where Keywheel's virtual time stands and how fast it goes.
type Clock struct {
	Now   time.Time `json:"now" doc:"The time it is from now on."`
	Speed *float64  `json:"speed,omitempty" nullable:"false" minimum:"0" maximum:"100000" doc:"Seconds per second; 0 stands still, 1 if left out."`
}

type clockInput struct{ Body Clock }

type clockOutput struct{ Body Clock }

// Times that the clock can be set to: far from the edges of every time type between here and the filter.
const (
	firstYear = 2000
	lastYear  = 2199
)

func (a *api) registerClock() {
	description := a.huma.OpenAPI()
	description.Tags = append(description.Tags, &huma.Tag{Name: tagClock, Description: "Only where time is virtual (--now)."})
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "set-clock", Method: http.MethodPut, Path: "/api/v1/clock", Tags: []string{tagClock},
		Summary: "Move the virtual clock",
	}, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusServiceUnavailable), a.setClock)
}

func (a *api) setClock(ctx context.Context, in *clockInput) (*clockOutput, error) {
	now, speed := utc(in.Body.Now), 1.0
	if in.Body.Speed != nil {
		speed = *in.Body.Speed
	}
	if year := now.Year(); year < firstYear || year > lastYear {
		return nil, huma.Error422UnprocessableEntity("now lies outside the years 2000 to 2199.")
	}
	if err := a.SetClock(ctx, now, speed); err != nil {
		a.Log.Error("The clock could not be moved", "error", err)
		return nil, huma.Error503ServiceUnavailable("The clock was not moved. Keywheel's log says why.")
	}
	return &clockOutput{Body: Clock{Now: now, Speed: &speed}}, nil
}
