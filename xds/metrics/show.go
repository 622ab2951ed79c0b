package metrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/ledger"
)

// unix is a time as Prometheus has it, in seconds.
func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// instant sends a time, unless there is none.
func (e emitter) instant(f *family, t time.Time, labels ...string) {
	if !t.IsZero() {
		e.put(f, unix(t), labels...)
	}
}

// ratio is a percentage of 0…100 with one decimal as 0…1.
func ratio(percent float64) float64 { return math.Round(percent*10) / 1000 }

func (a *account) showPool(out emitter, v *ledger.View) {
	out.put(a.now, unix(v.Now))
	out.put(a.resets, unix(v.ResetsAt))
	out.count(a.generation, a.Ledger.Assignment().Generation)
	out.flag(a.storeWritable, v.StoreError == "")
	out.put(a.health, ratio(v.Health))
	out.count(a.poolUsed, v.Pool.Used)
	if v.Pool.Limit > 0 {
		out.count(a.poolLimit, v.Pool.Limit)
		out.count(a.poolRemaining, v.Pool.Remaining)
	}
	out.instant(a.poolForecast, v.Pool.ExhaustedAt)
	out.flag(a.poolOut, v.Pool.AllOut)
}

// statuses are all that a key can have.
func statuses() []quota.Status {
	return []quota.Status{
		quota.Disabled, quota.Invalid, quota.Exhausted, quota.Cooling, quota.Critical, quota.Warning, quota.Active, quota.Standby,
	}
}

func (a *account) showKey(out emitter, k *ledger.KeyView) {
	out.put(a.keyInfo, 1, k.ID, k.Label, k.Tier)
	for _, s := range statuses() {
		out.flag(a.keyStatus, k.Status == s, k.ID, string(s))
	}
	out.flag(a.keyInUse, k.InUse, k.ID)
	out.put(a.keyHealth, ratio(k.Health), k.ID)
	out.put(a.keyScore, k.Score, k.ID)
	if k.MedianMS > 0 {
		out.put(a.keyMedian, float64(k.MedianMS)/1000, k.ID)
	}
	out.count(a.keyUsed, k.Used, k.ID)
	if k.LimitTokens > 0 {
		out.count(a.keyLimit, k.LimitTokens, k.ID)
		out.count(a.keyRemaining, k.Remaining, k.ID)
	}
	out.count(a.keyEstimated, k.Estimated, k.ID)
	out.count(a.keyUsedRequests, k.Requests, k.ID)
	if k.LimitRequests > 0 {
		out.count(a.keyLimitRequests, k.LimitRequests, k.ID)
	}
	out.instant(a.keyCoolingUntil, k.CoolingUntil, k.ID)
	out.instant(a.keyForecast, k.ExhaustedAt, k.ID)
}

// nodeView is all processes of a node.
type nodeView struct {
	version    string
	connected  int64
	generation int64 // the lowest of those that are connected
	lastReport time.Time
	skewMS     int64 // the farthest
}

// nodes puts the processes of each node together. A node ID may stand for several.
func nodes(proxies []ledger.ProxyView) map[string]*nodeView {
	out := map[string]*nodeView{}
	for i := range proxies {
		p := &proxies[i]
		n := out[p.Node]
		if n == nil {
			n = &nodeView{generation: math.MaxInt64}
			out[p.Node] = n
		}
		n.version = cmp.Or(p.Version, n.version)
		if p.LastReport.After(n.lastReport) {
			n.lastReport = p.LastReport
		}
		if !p.Connected {
			continue
		}
		n.connected++
		n.generation = min(n.generation, p.Config)
		if max(p.SkewMS, -p.SkewMS) > max(n.skewMS, -n.skewMS) {
			n.skewMS = p.SkewMS
		}
	}
	return out
}

func (a *account) showProxies(out emitter, v *ledger.View) {
	var connected int64
	all := nodes(v.Proxies)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n := all[name]
		connected += n.connected
		out.put(a.proxyInfo, 1, name, n.version)
		out.count(a.proxyConnected, n.connected, name)
		out.instant(a.proxyLastReport, n.lastReport, name)
		if n.connected > 0 {
			out.count(a.proxyGeneration, n.generation, name)
			out.put(a.proxySkew, float64(n.skewMS)/1000, name)
		}
	}
	out.count(a.proxies, connected)
}

// showIntake shows what the process counted of reports and of the store.
func (a *account) showIntake(out emitter) {
	if a.Reports != nil {
		r := a.Reports()
		out.count(a.reports, r.Accepted, "accepted")
		out.count(a.reports, r.Unauthorized, "unauthorized")
		out.count(a.reports, r.Malformed, "malformed")
		out.count(a.reports, r.TooLarge, "too_large")
		out.count(a.reports, r.Gone, "gone")
		out.count(a.reports, r.Unavailable, "unavailable")
	}
	s := a.Ledger.Stats()
	out.count(a.reportsRepeated, s.Repeated)
	out.count(a.reportsClamped, s.Clamped)
	out.count(a.reportsMissed, s.Missed)
	out.count(a.notesMissed, s.MissedNotes)
	out.count(a.findingsIgnored, s.IgnoredFindings)
	out.count(a.unknownCredentials, s.UnknownCredentials)
	out.count(a.oldWindows, s.OldWindows)
	out.count(a.quarantined, s.Quarantined)
	out.count(a.panics, s.Panics)
	out.count(a.storeFailures, s.StoreFailures)
	out.count(a.storeRestored, s.StoreRestored)
}
