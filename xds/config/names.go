package config

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// setting is what is known of a name before its value is looked at.
type setting struct {
	name   string
	secret bool // its value never shows, and name + "_FILE" may name a file that holds it
}

// settings are all names but those with a key's number in them, in the order in which they are read.
var settings = []setting{
	{name: configSetting},
	{name: "KEYWHEEL_UPSTREAM_URL"},
	{name: "GROQ_BASE_URL"},
	{name: "KEYWHEEL_STRATEGY"},
	{name: "KEYWHEEL_REQUIRED_TOKENS"},
	{name: "KEYWHEEL_THRESHOLDS"},
	{name: "KEYWHEEL_STORE"},
	{name: "KEYWHEEL_REPORT_INTERVAL"},
	{name: "KEYWHEEL_HISTORY_DAYS"},
	{name: "KEYWHEEL_LISTEN_ADDR"},
	{name: "KEYWHEEL_ENVOY_ADMIN_ADDR"},
	{name: "KEYWHEEL_ADMIN_ADDR"},
	{name: "KEYWHEEL_XDS_ADDR"},
	{name: "KEYWHEEL_XDS_INSECURE"},
	{name: certSetting},
	{name: keySetting},
	{name: caSetting},
	{name: "KEYWHEEL_PROXY_TOKEN", secret: true},
	{name: "KEYWHEEL_PUSH_INTERVAL"},
	{name: "KEYWHEEL_ENVOY_CONCURRENCY"},
	{name: "KEYWHEEL_WASM"},
	{name: "KEYWHEEL_ADMIN_TOKEN", secret: true},
	{name: "KEYWHEEL_ADMIN_READ_TOKEN", secret: true},
	{name: "KEYWHEEL_MASTER_KEY", secret: true},
	{name: "KEYWHEEL_CALLER_HEADER"},
	{name: "KEYWHEEL_USE_KEY_HEADER"},
	{name: "KEYWHEEL_LOG_LEVEL"},
	{name: "KEYWHEEL_LOG_FORMAT"},
	{name: "TELEGRAM_BOT_TOKEN", secret: true},
	{name: "TELEGRAM_CHAT_ID"},
	{name: "TELEGRAM_API_URL"},
	{name: "SMTP_URL", secret: true},
	{name: "ALERT_EMAIL_FROM"},
	{name: "ALERT_EMAIL_TO"},
	{name: "KEYWHEEL_WEBHOOK_URL", secret: true},
	{name: "KEYWHEEL_WEBHOOK_SECRET", secret: true},
	{name: "KEYWHEEL_NOTIFY_URLS", secret: true},
	{name: "KEYWHEEL_NOTIFY_ROUTES"},
}

// keyFields are the endings of GROQ_KEY_n_….
var keyFields = []string{"PRIORITY", "DAILY_LIMIT", "DAILY_REQUESTS", "LABEL", "ORG", "TIER", "THRESHOLDS", "MODELS", "DISABLED"}

const fileSuffix = "_FILE"

var (
	keyName      = regexp.MustCompile(`^GROQ_API_KEY(?:_([1-9][0-9]{0,5}))?$`)
	keyFieldName = regexp.MustCompile(`^GROQ_KEY_([1-9][0-9]{0,5})_(` + strings.Join(keyFields, "|") + `)$`)
	ownName      = regexp.MustCompile(`(?i)^(?:GROQ_KEY_|GROQ_API_KEY|KEYWHEEL_)`)
	digits       = regexp.MustCompile(`[0-9]+`)
)

// isSecret says whether name's value is a secret, so that name_FILE exists too.
func isSecret(name string) bool {
	if keyName.MatchString(name) {
		return true
	}
	return slices.ContainsFunc(settings, func(s setting) bool { return s.name == name && s.secret })
}

// known says whether name is a setting.
func known(name string) bool {
	if base, ok := strings.CutSuffix(name, fileSuffix); ok && isSecret(base) {
		return true
	}
	return keyName.MatchString(name) || keyFieldName.MatchString(name) ||
		slices.ContainsFunc(settings, func(s setting) bool { return s.name == name })
}

// nearest returns the known name that is most like name.
func nearest(name string) string {
	n := strings.TrimLeft(digits.FindString(name), "0")
	if n == "" || len(n) > 6 {
		n = "1"
	}
	candidates := []string{"GROQ_API_KEY_" + n, "GROQ_API_KEY_" + n + fileSuffix}
	for _, field := range keyFields {
		candidates = append(candidates, "GROQ_KEY_"+n+"_"+field)
	}
	for _, s := range settings {
		candidates = append(candidates, s.name)
		if s.secret {
			candidates = append(candidates, s.name+fileSuffix)
		}
	}
	return mostLike(strings.ToUpper(name), candidates)
}

// mostLike returns the candidate that is most like word: one that has all its words if there is any, and of those the
// one that takes the fewest changes.
func mostLike(word string, candidates []string) string {
	return slices.MinFunc(candidates, func(a, b string) int {
		return cmp.Or(missingWords(word, a)-missingWords(word, b), levenshtein.ComputeDistance(word, a)-levenshtein.ComputeDistance(word, b))
	})
}

// meant says what to write for a word that is none of candidates: the one that is like it, or all if none is.
func meant(word string, candidates []string) string {
	like := mostLike(word, candidates)
	if missingWords(word, like) == 0 || levenshtein.ComputeDistance(word, like) <= len(like)/3 {
		return "did you mean " + like + "?"
	}
	return "write " + orList(candidates)
}

// missingWords is 0 if candidate has all words of name, else 1.
func missingWords(name, candidate string) int {
	has := strings.Split(candidate, "_")
	for word := range strings.SplitSeq(name, "_") {
		if !slices.Contains(has, word) {
			return 1
		}
	}
	return 0
}

// Kubernetes puts variables into every container for each service of the namespace. A service that is called
// "keywheel…" makes names that look like ours: KEYWHEEL_SERVICE_HOST, KEYWHEEL_ADMIN_PORT=tcp://10.0.0.1:8080.
var (
	serviceName = regexp.MustCompile(`^[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$`)
	serviceLink = regexp.MustCompile(`^(?:tcp|udp|sctp)://`)
)

func fromKubernetes(name, value string) bool {
	return serviceName.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceLink.MatchString(value)
}
