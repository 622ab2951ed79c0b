package envoy

import (
	"slices"
	"strings"
)

// allowed are the variables that Envoy may see. They say how the system is set up; none of them holds a secret.
var allowed = []string{"PATH", "TZ", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES"}

// envoyEnviron returns what of environ Envoy is started with.
func envoyEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return !slices.Contains(allowed, name)
	})
}

// ours are the beginnings of the names of settings, which may be secrets.
var ours = []string{"GROQ_", "KEYWHEEL_", "TELEGRAM_", "SMTP_", "ALERT_", "OTEL_"}

// withoutSecrets returns what of environ a helper program such as pip may see: everything but Keywheel's settings. Pip
// needs proxies and its own configuration.
func withoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		return slices.ContainsFunc(ours, func(beginning string) bool { return strings.HasPrefix(entry, beginning) })
	})
}
