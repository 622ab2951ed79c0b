package forecast_test

import (
	"testing"
	"time"

	"keywheel/xds/forecast"
)

// A key that took over from one that is used up has a forecast by its own pace, also where calls come in clusters, a
// quarter of an hour apart: the other's part in the morning is history.
func TestAKeyThatTookOver(t *testing.T) {
	midnight := time.Date(2025, 11, 18, 0, 0, 0, 0, time.UTC)
	own, demand := make([]int64, forecast.PerDay), make([]int64, forecast.PerDay)
	const quarter = 3 // buckets
	for i, tokens := range []int64{1234, 2222, 2222, 2212, 709, 709, 709, 674, 109, 529, 395, 347, 395, 387, 107, 684, 637, 119} {
		demand[8*12+quarter*i] += tokens // by the key before
	}
	for i, tokens := range []int64{1347, 1187, 1208, 1187, 1208, 1187, 1176} {
		own[12*12+quarter*(i+1)] += tokens
		demand[12*12+quarter*(i+1)] += tokens
	}
	load := forecast.Load{Now: midnight.Add(14 * time.Hour), Used: 8500, Limit: 14_400, Own: own, Demand: demand}
	e := forecast.Of(load)
	want := midnight.Add(15*time.Hour + 13*time.Minute) // 5,900 tokens at 4,857 an hour
	if off := e.ExhaustedAt.Sub(want).Abs(); e.ExhaustedAt.IsZero() || off > 45*time.Minute {
		t.Errorf("it will be exhausted at %s by %d tokens an hour; at its own pace that is %s", e.ExhaustedAt, e.Rate, want)
	}
	own[13*12+2*quarter] /= 2 // it shares the demand with another
	if shared := forecast.Of(load); shared.Rate >= e.Rate {
		t.Errorf("with less than all of the demand it takes %d tokens an hour, alone %d", shared.Rate, e.Rate)
	}
}
