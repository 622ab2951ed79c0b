package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// family is a metric with its labels' names.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// families are all metrics of the account.
type families struct {
	all []*family

	build, now, resets, generation, storeWritable                        *family
	health, poolUsed, poolLimit, poolRemaining, poolForecast, poolOut    *family
	keyInfo, keyStatus, keyInUse, keyHealth, keyScore, keyMedian         *family
	keyUsed, keyLimit, keyRemaining, keyEstimated                        *family
	keyUsedRequests, keyLimitRequests, keyCoolingUntil, keyForecast      *family
	proxies, proxyInfo, proxyConnected, proxyGeneration                  *family
	proxyLastReport, proxySkew                                           *family
	keyTokens, keyRequests, keyAttempts, modelTokens, modelCached        *family
	callerRequests, callerTokens                                         *family
	clientRequests, clientSeconds, rotations, rescues, downtime          *family
	events, notices, noticesWaiting, noticesRetrying                     *family
	reports, reportsRepeated, reportsMissed, notesMissed                 *family
	reportsClamped                                                       *family
	findingsIgnored, unknownCredentials, oldWindows, quarantined, panics *family
	storeFailures, storeRestored                                         *family
	certificate                                                          *family
}

func newFamilies() *families {
	f := &families{}
	f.describePool()
	f.describeKeys()
	f.describeProxies()
	f.describeCounts()
	f.describeIntake()
	return f
}

const namespace = "keywheel"

func (f *families) add(kind prometheus.ValueType, name, help string, labels []string) *family {
	added := &family{desc: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil), kind: kind}
	f.all = append(f.all, added)
	return added
}

func (f *families) gauge(name, help string, labels ...string) *family {
	return f.add(prometheus.GaugeValue, name, help, labels)
}

func (f *families) counter(name, help string, labels ...string) *family {
	return f.add(prometheus.CounterValue, name, help, labels)
}

func (f *families) describePool() {
	f.build = f.gauge("build_info", "1, with Keywheel's version.", "version")
	f.now = f.gauge("time_seconds", "Keywheel's time, which is another than the host's where its clock is virtual.")
	f.resets = f.gauge("reset_timestamp_seconds", "When the daily limits begin anew: the next 00:00 UTC.")
	f.generation = f.gauge("assignment_generation", "Number of the newest assignment, which every Envoy is to run.")
	f.storeWritable = f.gauge("store_writable", "1: the last change of the account could be written. 0: it could not, and usage reports wait.")
	f.health = f.gauge("health_ratio", "Success of the last 15 minutes' calls, less 0.05 for each key out of service.")
	f.poolUsed = f.gauge("pool_used_tokens", "Tokens that all keys spent today.")
	f.poolLimit = f.gauge("pool_limit_tokens", "Tokens that all keys may spend in a day. None if a key has no limit.")
	f.poolRemaining = f.gauge("pool_remaining_tokens", "Tokens that all keys have left today. None if a key has no limit.")
	f.poolForecast = f.gauge("pool_forecast_exhausted_timestamp_seconds",
		"When all keys are used up at the current rate. None if not before the reset, or unknown.")
	f.poolOut = f.gauge("pool_out", "1: calls are refused because no key can serve.")
}

func (f *families) describeKeys() {
	f.keyInfo = f.gauge("key_info", "1, with what the key is called and its tier.", "key", "label", "tier")
	f.keyStatus = f.gauge("key_status", "1 for the status that the key has, 0 for the others.", "key", "status")
	f.keyInUse = f.gauge("key_in_use", "1: it is the key that calls go to.", "key")
	f.keyHealth = f.gauge("key_health_ratio", "Attempts of the last 15 minutes that did not fail by the key's fault.", "key")
	f.keyScore = f.gauge("key_score", "The key's score, 0 to 100.", "key")
	f.keyMedian = f.gauge("key_median_response_seconds", "Median response time of the last 15 minutes. None without traffic.", "key")
	f.keyUsed = f.gauge("key_used_tokens", "Tokens that the key spent today.", "key")
	f.keyLimit = f.gauge("key_limit_tokens", "Tokens that the key may spend in a day. None without a limit.", "key")
	f.keyRemaining = f.gauge("key_remaining_tokens", "Tokens that the key has left today. None without a limit.", "key")
	f.keyEstimated = f.gauge("key_estimated_tokens", "Of today's tokens, those that no answer stated.", "key")
	f.keyUsedRequests = f.gauge("key_used_requests", "Requests that the key made today.", "key")
	f.keyLimitRequests = f.gauge("key_limit_requests", "Requests that the key may make in a day. None without a limit.", "key")
	f.keyCoolingUntil = f.gauge("key_cooling_until_timestamp_seconds", "When the key may serve again. None while it may.", "key")
	f.keyForecast = f.gauge("key_forecast_exhausted_timestamp_seconds",
		"When the key is used up at the current rate. None if not before the reset, or unknown.", "key")
}

func (f *families) describeProxies() {
	f.proxies = f.gauge("proxies_connected", "Envoy processes that report, or have a stream open.")
	f.proxyInfo = f.gauge("proxy_info", "1, with the version of the node's Envoy.", "node", "version")
	f.proxyConnected = f.gauge("proxy_connected", "Envoy processes of the node that are connected. 0 for an hour after the last has gone.", "node")
	f.proxyGeneration = f.gauge("proxy_generation", "The oldest assignment that a connected process of the node runs.", "node")
	f.proxyLastReport = f.gauge("proxy_last_report_timestamp_seconds", "When the node last reported usage, by Keywheel's time.", "node")
	f.proxySkew = f.gauge("proxy_clock_skew_seconds", "How far the node's clock is ahead of the control plane's, as it last reported.", "node")
}

func (f *families) describeCounts() {
	f.keyTokens = f.counter("key_tokens_total", "Tokens that the key spent.", "key")
	f.keyRequests = f.counter("key_requests_total", "Requests that count against the key's limit.", "key")
	f.keyAttempts = f.counter("key_attempts_total", "Attempts with the key, by what they came to.", "key", "outcome")
	f.modelTokens = f.counter("model_tokens_total", "Tokens that the model took; kind is prompt, completion, or estimated where no answer said.", "model", "kind")
	f.modelCached = f.counter("model_cached_tokens_total", "Prompt tokens that Groq had cached.", "model")
	f.callerRequests = f.counter("caller_requests_total", "Calls by who made them, if callers are counted.", "caller")
	f.callerTokens = f.counter("caller_tokens_total", "Tokens of all attempts by who called, if callers are counted.", "caller")
	f.clientRequests = f.counter("client_requests_total",
		"Calls of clients, by how they ended: succeeded, caller_fault, refused (no key could serve), limited (429 from Groq), failed or cut.", "outcome")
	f.clientSeconds = f.counter("client_response_seconds_total", "Time from headers in to last byte out, summed over the calls that succeeded.")
	f.rotations = f.counter("rotations_total", "Times that the key in use left because it could not serve, and another took over.")
	f.rescues = f.counter("rescues_total", "Calls inside which another key took over, and served.")
	f.downtime = f.counter("downtime_seconds_total", "Time in which calls came and no key could serve them.")
	f.events = f.counter("events_total", "What happened, by kind and level.", "kind", "level")
	f.notices = f.counter("notifications_total", "Notifications that the receiver took (sent) or that were given up (failed).", "receiver", "outcome")
	f.noticesWaiting = f.gauge("notifications_waiting", "Notifications to be sent, or to be sent again.", "receiver")
	f.noticesRetrying = f.gauge("notifications_retrying", "Of those that wait, the ones of which an attempt failed.", "receiver")
}

func (f *families) describeIntake() {
	f.reports = f.counter("reports_total", "Usage reports, by what became of them.", "outcome")
	f.reportsRepeated = f.counter("reports_repeated_total", "Usage reports not newer than one before.")
	f.reportsMissed = f.counter("reports_missed_total", "Usage reports that were lost or overtaken; the next one says the same.")
	f.notesMissed = f.counter("notes_missed_total", "Notes of Envoys that were lost.")
	f.findingsIgnored = f.counter("findings_ignored_total", "Findings about credentials that are not in force.")
	f.unknownCredentials = f.counter("unknown_credential_uses_total", "Uses of credentials of no configured key.")
	f.oldWindows = f.counter("old_windows_total", "Days in usage reports that are over, or too far ahead.")
	f.certificate = f.gauge("tls_certificate_expiry_timestamp_seconds",
		"When the certificate expires that Envoys are shown, by the host's clock. None without TLS.")
	f.reportsClamped = f.counter("reports_clamped_total", "Usage reports whose time is over five minutes off; their counts alone were taken in.")
	f.quarantined = f.counter("quarantined_steps_total", "Steps of usage that were set aside, as no number of requests explains them.")
	f.panics = f.counter("filter_panics_total", "Bugs that Envoys' filters met, each of which cost a call.")
	f.storeFailures = f.counter("store_failures_total", "Times that a change of the account could not be written.")
	f.storeRestored = f.counter("store_restored_total", "Times that Envoys knew of a newer account than the store, which then is a restored backup.")
}

// emitter sends metrics to a collection.
type emitter chan<- prometheus.Metric

func (e emitter) put(f *family, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(f.desc, f.kind, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	e <- m
}

// count sends a count of the ledger's.
func (e emitter) count(f *family, n int64, labels ...string) { e.put(f, float64(n), labels...) }

// flag sends 1 for true and 0 for false.
func (e emitter) flag(f *family, b bool, labels ...string) {
	v := 0.0
	if b {
		v = 1
	}
	e.put(f, v, labels...)
}
