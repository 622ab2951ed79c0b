package forecast_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keywheel/shared/quota"
	"keywheel/xds/forecast"
)

// anyTokens is what can stand in a bucket, and what cannot.
func anyTokens() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 2000), rapid.Int64Range(1<<52, 1<<53), rapid.Int64())
}

// anySeries is one of any length, of stretches with the same tokens or of single buckets.
func anySeries() *rapid.Generator[[]int64] {
	return rapid.Custom(func(t *rapid.T) []int64 {
		var tokens []int64
		for length := rapid.IntRange(0, forecast.PerDay+20).Draw(t, "length"); len(tokens) < length; {
			n := rapid.IntRange(1, length-len(tokens)).Draw(t, "stretch")
			tokens = append(tokens, slices.Repeat([]int64{anyTokens().Draw(t, "tokens")}, n)...)
		}
		return tokens
	})
}

// hours are those of a day, each as likely as any other.
func hours() *rapid.Generator[int] {
	all := make([]int, 24)
	for i := range all {
		all[i] = i
	}
	return rapid.SampledFrom(all)
}

// anyLoad is any, at any time of the day; half of them are such that something can be said.
func anyLoad() *rapid.Generator[forecast.Load] {
	return rapid.Custom(func(t *rapid.T) forecast.Load {
		l := forecast.Load{Own: anySeries().Draw(t, "own"), Used: anyTokens().Draw(t, "used"), Limit: anyTokens().Draw(t, "limit")}
		l.Now = date.Add(time.Duration(hours().Draw(t, "hour"))*time.Hour + time.Duration(rapid.Int64Range(0, int64(time.Hour)-1).Draw(t, "now")))
		l.Past = forecast.NewShape(rapid.SliceOfN(anySeries(), 0, 4).Draw(t, "past"))
		if rapid.Bool().Draw(t, "one of several keys") {
			l.Demand = anySeries().Draw(t, "demand")
		}
		if rapid.Bool().Draw(t, "busy, with something left") {
			tokens := rapid.Int64Range(1, 1<<53).Draw(t, "tokens")
			l.Own = slices.Repeat([]int64{tokens}, forecast.PerDay)
			l.Used = rapid.Int64Range(-1, 1<<53).Draw(t, "used")
			l.Limit = max(l.Used, 0) + tokens*rapid.Int64Range(1, 100).Draw(t, "buckets")
		}
		return l
	})
}

// Whatever is given, an estimate is none or one that can be, and no policy speaks without one.
func TestAnyLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLoad().Draw(t, "load")
		e := forecast.Of(l)
		end := quota.WindowAt(l.Now).End()
		if e.Rate < 0 || e.Rate > 1<<53 || e.Held < 0 || e.Held > 24*time.Hour || !e.At.Equal(l.Now) {
			t.Fatalf("%+v", e)
		}
		if !e.ExhaustedAt.IsZero() && (!e.ExhaustedAt.After(l.Now) || e.ExhaustedAt.After(end)) {
			t.Fatalf("exhausted at %s, at %s", e.ExhaustedAt, l.Now)
		}
		if (l.Limit <= 0 || l.Used >= l.Limit) && !e.ExhaustedAt.IsZero() {
			t.Fatalf("used %d of %d, and exhausted at %s", l.Used, l.Limit, e.ExhaustedAt)
		}
		for _, p := range []forecast.Policy{forecast.ForKey, forecast.ForPool} {
			var w forecast.Watch
			speaks := 0
			for i := range 4 {
				e := e
				if e.At = l.Now.Add(time.Duration(i) * 10 * time.Minute); quota.WindowAt(e.At) != quota.WindowAt(l.Now) {
					break
				}
				if w.Step(e, p) {
					speaks++
				}
			}
			if speaks > 1 || speaks > 0 && e.ExhaustedAt.IsZero() {
				t.Fatalf("said %d times: %+v", speaks, e)
			}
		}
	})
}

// plainLoad is one that can be: calls until now, and a limit that is not reached.
func plainLoad() *rapid.Generator[forecast.Load] {
	return rapid.Custom(func(t *rapid.T) forecast.Load {
		n := 12*hours().Draw(t, "hour") + rapid.IntRange(6, 11).Draw(t, "buckets")
		most := rapid.Int64Range(1, 2000).Draw(t, "most")
		l := forecast.Load{Own: rapid.SliceOfN(rapid.Int64Range(0, most), n, n).Draw(t, "own")}
		l.Now = date.Add(time.Duration(n)*forecast.Bucket + time.Duration(rapid.IntRange(0, 299).Draw(t, "seconds"))*time.Second)
		for _, tokens := range l.Own {
			l.Used += tokens
		}
		l.Limit = l.Used + rapid.Int64Range(1, 100*most).Draw(t, "remaining")
		return l
	})
}

// The loads that properties are tried with are ones of which something is said.
func TestLoadsSaySomething(t *testing.T) {
	for name, c := range map[string]struct {
		loads *rapid.Generator[forecast.Load]
		least int
	}{"any": {anyLoad(), 10}, "plain": {plainLoad(), 50}} {
		said := 0
		for seed := range 100 {
			if !forecast.Of(c.loads.Example(seed)).ExhaustedAt.IsZero() {
				said++
			}
		}
		if said < c.least {
			t.Errorf("only %d of 100 loads of the generator %q have a forecast", said, name)
		}
	}
}

// A higher limit lasts longer.
func TestMoreLastsLonger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := plainLoad().Draw(t, "load")
		before := forecast.Of(l)
		l.Limit += rapid.Int64Range(1, 500_000).Draw(t, "more")
		if after := forecast.Of(l); !after.ExhaustedAt.IsZero() && (before.ExhaustedAt.IsZero() || after.ExhaustedAt.Before(before.ExhaustedAt)) {
			t.Fatalf("exhausted at %s, with more at %s", before.ExhaustedAt, after.ExhaustedAt)
		}
	})
}

// What a token is makes no difference: up to the largest numbers that are exact.
func TestScaleMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := plainLoad().Draw(t, "load")
		before := forecast.Of(l)
		by := int64(1) << rapid.IntRange(0, 30).Draw(t, "by")
		scaled := l
		scaled.Used, scaled.Limit, scaled.Own = l.Used*by, l.Limit*by, slices.Clone(l.Own)
		for i := range scaled.Own {
			scaled.Own[i] *= by
		}
		after := forecast.Of(scaled)
		if before.ExhaustedAt.Sub(after.ExhaustedAt).Abs() > time.Microsecond || math.Abs(float64(after.Rate)/float64(by)-float64(before.Rate)) > 1 {
			t.Fatalf("%+v, by %d %+v", before, by, after)
		}
	})
}

// A key that takes all there is has the forecast of the whole.
func TestAllIsAShareToo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := plainLoad().Draw(t, "load")
		whole := forecast.Of(l)
		l.Demand = l.Own
		if share := forecast.Of(l); share != whole {
			t.Fatalf("%+v, as a share %+v", whole, share)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	calls := office(random(61, 0), 300, true)
	past := week(random(61, 1), 300, true)
	l := forecast.Load{Now: date.Add(23 * time.Hour), Used: total(calls), Limit: 2 * total(calls), Own: series(calls), Past: past}
	l.Demand = l.Own
	b.ReportAllocs()
	for b.Loop() {
		forecast.Of(l)
	}
}
