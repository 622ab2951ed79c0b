package config

import (
	"slices"
	"strconv"
	"strings"
)

// field is a place in keywheel.yaml. keywheel.schema.json tells editors of the same ones.
type field struct {
	name      string
	setting   string // what it sets, with # for the number of a key; empty: nothing itself
	separator string // with which the setting has several values, which can be a list here; empty: it has one
	kind      kind
	fields    []field // of a group
}

// kind is how a field is written.
type kind int

const (
	leaf     kind = iota
	group         // fields below it
	numbered      // a group below each key's number
	routed        // receivers below each event
)

// fileFields are all fields of keywheel.yaml. Beside the field of a secret stands one with _file behind its name, for the
// path of a file that holds it.
var fileFields = withFiles([]field{
	{name: "keys", kind: numbered, fields: []field{
		{name: "secret", setting: "GROQ_API_KEY_#"},
		{name: "label", setting: "GROQ_KEY_#_LABEL"},
		{name: "priority", setting: "GROQ_KEY_#_PRIORITY"},
		{name: "daily_limit", setting: "GROQ_KEY_#_DAILY_LIMIT"},
		{name: "daily_requests", setting: "GROQ_KEY_#_DAILY_REQUESTS"},
		{name: "org", setting: "GROQ_KEY_#_ORG"},
		{name: "tier", setting: "GROQ_KEY_#_TIER"},
		{name: "thresholds", setting: "GROQ_KEY_#_THRESHOLDS", separator: ","},
		{name: "models", setting: "GROQ_KEY_#_MODELS", separator: ","},
		{name: "disabled", setting: "GROQ_KEY_#_DISABLED"},
	}},
	{name: "strategy", setting: "KEYWHEEL_STRATEGY"},
	{name: "required_tokens", setting: "KEYWHEEL_REQUIRED_TOKENS"},
	{name: "thresholds", setting: "KEYWHEEL_THRESHOLDS", separator: ","},
	{name: "upstream_url", setting: "KEYWHEEL_UPSTREAM_URL"},
	{name: "report_interval", setting: "KEYWHEEL_REPORT_INTERVAL"},
	{name: "caller_header", setting: "KEYWHEEL_CALLER_HEADER"},
	{name: "use_key_header", setting: "KEYWHEEL_USE_KEY_HEADER"},
	{name: "notify", kind: group, fields: []field{
		{name: "telegram", kind: group, fields: []field{
			{name: "token", setting: "TELEGRAM_BOT_TOKEN"},
			{name: "chats", setting: "TELEGRAM_CHAT_ID", separator: ","},
			{name: "api_url", setting: "TELEGRAM_API_URL"},
		}},
		{name: "email", kind: group, fields: []field{
			{name: "server", setting: "SMTP_URL"},
			{name: "from", setting: "ALERT_EMAIL_FROM"},
			{name: "to", setting: "ALERT_EMAIL_TO", separator: ","},
		}},
		{name: "webhook", kind: group, fields: []field{
			{name: "url", setting: "KEYWHEEL_WEBHOOK_URL"},
			{name: "secret", setting: "KEYWHEEL_WEBHOOK_SECRET"},
		}},
		{name: "services", setting: "KEYWHEEL_NOTIFY_URLS", separator: " "},
		{name: "routes", setting: routesSetting, kind: routed},
	}},
	{name: "store", kind: group, fields: []field{
		{name: "location", setting: "KEYWHEEL_STORE"},
		{name: "history_days", setting: "KEYWHEEL_HISTORY_DAYS"},
		{name: "master_key", setting: "KEYWHEEL_MASTER_KEY"},
	}},
	{name: "envoy", kind: group, fields: []field{
		{name: "listen_addr", setting: "KEYWHEEL_LISTEN_ADDR"},
		{name: "admin_addr", setting: "KEYWHEEL_ENVOY_ADMIN_ADDR"},
		{name: "concurrency", setting: "KEYWHEEL_ENVOY_CONCURRENCY"},
		{name: "wasm", setting: "KEYWHEEL_WASM"},
	}},
	{name: "admin", kind: group, fields: []field{
		{name: "addr", setting: "KEYWHEEL_ADMIN_ADDR"},
		{name: "token", setting: "KEYWHEEL_ADMIN_TOKEN"},
		{name: "read_token", setting: "KEYWHEEL_ADMIN_READ_TOKEN"},
	}},
	{name: "xds", kind: group, fields: []field{
		{name: "addr", setting: "KEYWHEEL_XDS_ADDR"},
		{name: "insecure", setting: "KEYWHEEL_XDS_INSECURE"},
		{name: "proxy_token", setting: "KEYWHEEL_PROXY_TOKEN"},
		{name: "push_interval", setting: "KEYWHEEL_PUSH_INTERVAL"},
	}},
	{name: "tls", kind: group, fields: []field{
		{name: "cert", setting: "KEYWHEEL_TLS_CERT"},
		{name: "key", setting: "KEYWHEEL_TLS_KEY"},
		{name: "ca", setting: "KEYWHEEL_TLS_CA"},
	}},
	{name: "log", kind: group, fields: []field{
		{name: "level", setting: "KEYWHEEL_LOG_LEVEL"},
		{name: "format", setting: "KEYWHEEL_LOG_FORMAT"},
	}},
})

// withFiles adds the fields for files of secrets.
func withFiles(fields []field) []field {
	var all []field
	for _, f := range fields {
		f.fields = withFiles(f.fields)
		all = append(all, f)
		if isSecret(f.of(1)) {
			all = append(all, field{name: f.name + "_file", setting: f.setting + fileSuffix})
		}
	}
	return all
}

// of is the setting for a key.
func (f field) of(number int) string { return strings.ReplaceAll(f.setting, "#", strconv.Itoa(number)) }

// named returns the field of a name.
func named(fields []field, name string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

// pathOf is the place in keywheel.yaml of the first field that matches; empty: there is none.
func pathOf(fields []field, matches func(field) bool) string {
	for _, f := range fields {
		path := f.name
		if f.fields != nil {
			below := pathOf(f.fields, matches)
			if below == "" {
				continue
			}
			if f.kind == numbered {
				path += "[n]"
			}
			return path + "." + below
		}
		if matches(f) {
			return path
		}
	}
	return ""
}

// suggestion is the field that was meant by a name that is none in a group: the one that sets the setting of this name,
// or is called so elsewhere, or is the most like it.
func suggestion(groupPath string, fields []field, name string) string {
	lower, setting := strings.ToLower(name), strings.ToUpper(name)
	if keyName.MatchString(setting) || keyFieldName.MatchString(setting) {
		setting = strings.Replace(digits.ReplaceAllString(setting, "#"), "GROQ_API_KEY", "GROQ_API_KEY_#", 1)
		setting = strings.Replace(setting, "_#_#", "_#", 1)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if !slices.Contains(names, lower) {
		if path := pathOf(fileFields, func(f field) bool { return f.name == lower || f.setting == setting }); path != "" {
			return path
		}
	}
	return below(groupPath, mostLike(lower, names))
}

// below is the path of a field of a group.
func below(groupPath, name string) string {
	if groupPath == "" {
		return name
	}
	return groupPath + "." + name
}
