package config

import "reflect"

// effects are all settings by what is read of them into a Config, and whether a change of it takes effect while Keywheel
// runs.
var effects = []struct {
	name string
	live bool
	of   func(*Config) any
}{
	{"GROQ_API_KEY_n", true, func(c *Config) any { return c.Keys }}, // with all GROQ_KEY_n_…
	{"KEYWHEEL_STRATEGY", true, func(c *Config) any { return c.Strategy }},
	{"KEYWHEEL_REQUIRED_TOKENS", true, func(c *Config) any { return c.RequiredTokens }},
	{"KEYWHEEL_THRESHOLDS", true, func(c *Config) any { return c.Thresholds }},
	{"KEYWHEEL_REPORT_INTERVAL", true, func(c *Config) any { return c.ReportInterval }},
	{"KEYWHEEL_PUSH_INTERVAL", true, func(c *Config) any { return c.PushInterval }},
	{"KEYWHEEL_CALLER_HEADER", true, func(c *Config) any { return c.CallerHeader }},
	{"KEYWHEEL_USE_KEY_HEADER", true, func(c *Config) any { return c.UseKeyHeader }},
	{certSetting, true, func(c *Config) any { return c.TLS.digest() }}, // new files, for new connections
	{"KEYWHEEL_NOTIFY_ROUTES", true, func(c *Config) any { return c.Notify.Routes }},
	{"TELEGRAM_BOT_TOKEN", true, func(c *Config) any { return c.Notify.Telegram }},  // with TELEGRAM_CHAT_ID, TELEGRAM_API_URL
	{"SMTP_URL", true, func(c *Config) any { return c.Notify.Email }},               // with ALERT_EMAIL_FROM, ALERT_EMAIL_TO
	{"KEYWHEEL_WEBHOOK_URL", true, func(c *Config) any { return c.Notify.Webhook }}, // with KEYWHEEL_WEBHOOK_SECRET
	{"KEYWHEEL_NOTIFY_URLS", true, func(c *Config) any { return c.Notify.Services }},

	{"KEYWHEEL_UPSTREAM_URL", false, func(c *Config) any { return c.Upstream }},              // Envoy is started with it
	{"KEYWHEEL_STORE", false, func(c *Config) any { return c.StorePath }},                    // it is open, and locked
	{"KEYWHEEL_HISTORY_DAYS", false, func(c *Config) any { return c.HistoryDays }},           // the ledger is opened with it
	{"KEYWHEEL_LISTEN_ADDR", false, func(c *Config) any { return c.ListenAddr }},             // Envoy is started with it
	{"KEYWHEEL_ENVOY_ADMIN_ADDR", false, func(c *Config) any { return c.EnvoyAdminAddr }},    // Envoy is started with it
	{"KEYWHEEL_ADMIN_ADDR", false, func(c *Config) any { return c.AdminAddr }},               // clients know it
	{"KEYWHEEL_XDS_ADDR", false, func(c *Config) any { return c.XDSAddr }},                   // Envoys know it
	{"KEYWHEEL_XDS_INSECURE", false, func(c *Config) any { return c.XDSInsecure }},           // as the address
	{certSetting, false, func(c *Config) any { return c.TLS != nil }},                        // Envoys know it
	{"KEYWHEEL_PROXY_TOKEN", false, func(c *Config) any { return c.ProxyToken }},             // Envoys were started with it
	{"KEYWHEEL_ADMIN_TOKEN", false, func(c *Config) any { return c.AdminToken }},             // sessions were opened with it
	{"KEYWHEEL_ADMIN_READ_TOKEN", false, func(c *Config) any { return c.AdminReadToken }},    // as the other token
	{"KEYWHEEL_MASTER_KEY", false, func(c *Config) any { return c.MasterKeys }},              // what is stored is sealed anew at the start
	{"KEYWHEEL_WASM", false, func(c *Config) any { return c.WasmPath }},                      // Envoy is started with it
	{"KEYWHEEL_ENVOY_CONCURRENCY", false, func(c *Config) any { return c.EnvoyConcurrency }}, // Envoy is started with it
	{"KEYWHEEL_LOG_LEVEL", false, func(c *Config) any { return c.LogLevel }},                 // the log is made with it
	{"KEYWHEEL_LOG_FORMAT", false, func(c *Config) any { return c.LogFormat }},               // the log is made with it
}

// Diff names the settings that differ and take effect at a restart only. Those that are not named are to be put in force
// while Keywheel runs.
func Diff(running, read *Config) []string {
	var names []string
	for _, e := range effects {
		if !e.live && !reflect.DeepEqual(e.of(running), e.of(read)) {
			names = append(names, e.name)
		}
	}
	return names
}

// same says whether two configurations are the same in all that has an effect.
func same(a, b *Config) bool {
	for _, e := range effects {
		if !reflect.DeepEqual(e.of(a), e.of(b)) {
			return false
		}
	}
	return true
}
