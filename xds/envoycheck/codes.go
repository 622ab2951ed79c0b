package envoycheck

// Severity is how much a finding matters.
type Severity string

const (
	// Error is for keys that are not used, calls that fail, and keys that leak.
	Error Severity = "error"
	// Warning is for what works, but less well or less safely than it could.
	Warning Severity = "warning"
)

// The findings, by their stable codes. Each has a test that plants that mistake alone in a good file.
var severities = map[string]Severity{
	// The file, and where Keywheel's parts are in it.
	"not-yaml":             Error,
	"not-a-bootstrap":      Error,
	"no-groq-route":        Error,
	"gate-missing":         Error,
	"gate-not-enabled":     Error,
	"gate-on-other-route":  Error,
	"gate-not-disabled":    Warning,
	"gate-twice":           Error,
	"gate-after-router":    Error,
	"gate-only":            Warning,
	"auth-after-gate":      Error,
	"buffer-filter-small":  Error,
	"attempt-missing":      Error,
	"attempt-in-router":    Error,
	"attempt-disabled":     Error,
	"attempt-after-codec":  Error,
	"upstream-codec-last":  Error,
	"envoy-too-old":        Error,
	"filter-name-wrong":    Error,
	"filter-is-static":     Error,
	"filter-not-announced": Error,

	// How the two roles are configured.
	"default-config-missing":      Error,
	"default-config-waits":        Warning,
	"root-id-wrong":               Warning,
	"plugin-name-wrong":           Warning,
	"stop-iteration-missing":      Warning,
	"fail-open":                   Warning,
	"no-reload":                   Warning,
	"vm-config-differs":           Warning,
	"vm-config-unlike-pushed":     Warning,
	"runtime-not-v8":              Error,
	"wasm-code-missing":           Error,
	"wasm-code-remote":            Warning,
	"config-source-ads":           Error,
	"config-source-other-ads":     Warning,
	"config-source-not-grpc":      Error,
	"config-source-cluster":       Error,
	"control-plane-missing":       Error,
	"control-plane-not-http2":     Error,
	"control-plane-in-clear-text": Warning,

	// A route to Groq.
	"retry-policy-missing":             Error,
	"virtual-host-retry-overridden":    Error,
	"rotate-header-not-retriable":      Error,
	"retriable-headers-not-in-retry":   Error,
	"num-retries-zero":                 Error,
	"num-retries-default":              Warning,
	"back-off-default":                 Warning,
	"rate-limited-back-off":            Error,
	"resets-not-retried":               Warning,
	"retry-on-statuses":                Warning,
	"per-try-timeout-short":            Error,
	"hedge-policy":                     Error,
	"internal-redirect":                Error,
	"mirror-policy":                    Error,
	"route-timeout-short":              Error,
	"idle-timeout-short":               Error,
	"stream-duration-short":            Error,
	"body-buffer-small":                Error,
	"host-not-rewritten":               Error,
	"path-not-rewritten":               Error,
	"path-not-served":                  Error,
	"path-not-normalized":              Warning,
	"websocket-allowed":                Warning,
	"key-header-removed":               Error,
	"keywheel-header-removed-upstream": Error,
	"accept-encoding-set":              Error,

	// A cluster that leads to Groq.
	"breaker-retries-default": Error,
	"breaker-limits-default":  Warning,
	"tls-missing":             Error,
	"trusted-ca-missing":      Error,
	"certificate-untrusted":   Error,
	"name-not-checked":        Error,
	"sni-missing":             Error,
	"sni-wrong":               Error,
	"tls-key-log":             Error,
	"dns-one-family":          Warning,
	"outlier-detection":       Warning,
	"answer-buffer-small":     Error,

	// Where a key would show, and who could spend it.
	"authorization-logged":      Error,
	"authorization-traced":      Error,
	"authorization-echoed":      Error,
	"authorization-in-metadata": Error,
	"authorization-overwritten": Error,
	"authorization-set":         Warning,
	"key-in-file":               Error,
	"tap":                       Error,
	"filter-sees-key":           Warning,
	"listener-open":             Warning,
	"admin-open":                Warning,
}

// Codes are the codes of all findings there are, in no particular order.
func Codes() []string {
	all := make([]string, 0, len(severities))
	for code := range severities {
		all = append(all, code)
	}
	return all
}
